/**
 * Where the command line takes the key of an encrypted database from: a key file, the output of a command, or a passphrase typed at the
 * terminal. The key itself is in no argument, in no variable of the environment and in no file of zblkfs.
 */
import { closeSync, writeSync } from 'node:fs'
import { openSync } from '../store/os-files.ts'
import { readFile } from '../store/os-files-async.ts'
import type { KeySource, Secret } from '../store/encryption.ts'
import { CannotOpenError, CodedError, systemCode } from '../store/errors.ts'
import { CommandError } from './failure.ts'

export interface KeyOptions {
  readonly keyFile?: string | undefined
  readonly keyCommand?: string | undefined
  /** A passphrase is asked for, whatever the environment says. */
  readonly asks?: boolean
}

const ENTER = new Set([0x0d, 0x0a])
const ERASE = new Set([0x08, 0x7f])
const INTERRUPT = 0x03
const END_OF_FILE = 0x04
/** Of the output of a command. */
const OUTPUT_BYTES_MAX = 1 << 20

/** The options of a command, else the environment's `ZBLKFS_KEY_FILE` and `ZBLKFS_KEY_COMMAND`, else the terminal. */
export function keySourceOf({ keyFile, keyCommand, asks = false }: KeyOptions): KeySource {
  if (keyFile !== undefined && keyCommand !== undefined)
    throw new CommandError('a key file and a key command exclude each other: give one of them')
  if (keyFile !== undefined) return () => readKeyFile(keyFile)
  if (keyCommand !== undefined) return () => outputOf(keyCommand)
  const { ZBLKFS_KEY_FILE: file, ZBLKFS_KEY_COMMAND: command } = process.env
  if (file && !asks) return () => readKeyFile(file)
  if (command && !asks) return () => outputOf(command)
  return ({ path, isNew }) => askForPassphrase(path, isNew)
}

async function readKeyFile(path: string): Promise<Secret> {
  try {
    return { kind: 'file', bytes: await readFile(path) }
  } catch (error) {
    throw new CannotOpenError(`the key file ${path} cannot be read: ${reasonOf(error)}`, {
      cause: error,
    })
  }
}

const REASONS: Readonly<Record<string, string>> = {
  ENOENT: 'there is no such file',
  EISDIR: 'it is a directory',
  EACCES: 'permission denied',
}

function reasonOf(error: unknown): string {
  const code = systemCode(error)
  return code === undefined ? String(error) : (REASONS[code] ?? code)
}

/** The output of a shell command, less one newline at its end. */
async function outputOf(command: string): Promise<Secret> {
  // Few commands need one; every command loads this file.
  const { spawn } = await import('node:child_process')
  const child = spawn('/bin/sh', ['-c', command], { stdio: ['inherit', 'pipe', 'inherit'] })
  const parts: Buffer[] = []
  let length = 0
  child.stdout.on('data', (part: Buffer) => {
    length += part.length
    if (length <= OUTPUT_BYTES_MAX) parts.push(part)
    else child.kill()
  })
  const status = await new Promise<string>((resolve, reject) => {
    child.once('error', reject)
    child.once('close', (code, signal) => resolve(signal ?? (code === 0 ? '' : `exit code ${code}`)))
  })
  if (status !== '') throw new CannotOpenError(`the key command failed (${status}): ${command}`)
  const output = Buffer.concat(parts)
  return { kind: 'command', bytes: output.at(-1) === 0x0a ? output.subarray(0, -1) : output }
}

/** Undefined if this process has no terminal, and for an empty line. */
async function askForPassphrase(path: string, isNew: boolean): Promise<Secret | undefined> {
  let fd: number
  try {
    fd = openSync('/dev/tty', 'r+')
  } catch {
    return undefined
  }
  try {
    const bytes = await prompt(fd, isNew ? `New passphrase of ${path}: ` : `Passphrase of ${path}: `)
    if (bytes.length === 0 && !isNew) return undefined
    if (isNew && !bytes.equals(await prompt(fd, 'Again: ')))
      throw new CommandError('the two passphrases differ')
    return { kind: 'passphrase', bytes }
  } finally {
    try {
      closeSync(fd)
    } catch {
      // The terminal's stream has closed it.
    }
  }
}

/** Reads a line without showing it. */
async function prompt(fd: number, question: string): Promise<Buffer> {
  const { ReadStream } = await import('node:tty')
  writeSync(fd, question)
  const terminal = new ReadStream(openSync('/dev/tty', 'r'))
  terminal.setRawMode(true)
  const line: number[] = []
  try {
    for await (const chunk of terminal)
      for (const byte of chunk as Buffer) {
        if (ENTER.has(byte) || byte === END_OF_FILE) return Buffer.from(line)
        if (byte === INTERRUPT) throw new CodedError('interrupted')
        if (ERASE.has(byte)) line.pop()
        else line.push(byte)
      }
    return Buffer.from(line)
  } finally {
    terminal.setRawMode(false)
    terminal.destroy()
    writeSync(fd, '\n')
  }
}
