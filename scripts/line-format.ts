/** How commands print lines: readable text, with `-z` every byte of names for programs, or JSON. */
import { bytesOf } from '../store/os-text.ts'
import type { Command } from 'commander'
import { printable, printablePath } from '../core/printable.ts'

export interface LineOptions {
  readonly zero?: boolean
  readonly json?: boolean
}

/** Turns names and messages into parts of a line. */
export interface LineFormat {
  /** A stored name or path, which has one character per byte. */
  readonly name: (stored: string) => string
  readonly text: (text: string) => string
  /** Whether lines have one character per byte, and end in NUL. */
  readonly isRaw: boolean
}

const READABLE: LineFormat = { name: printablePath, text: printable, isRaw: false }

const RAW: LineFormat = {
  name: stored => stored || '/',
  text: text => bytesOf(text).toString('latin1'),
  isRaw: true,
}

export const lineFormat = ({ zero = false, json = false }: LineOptions): LineFormat =>
  zero && !json ? RAW : READABLE

/** Adds `-z` and `--json`. */
export const withLineOptions = (command: Command, json: string): Command =>
  command
    .option('-z, --zero', 'end lines with NUL instead of newline, and print names and messages as they are')
    .option('--json', json)
