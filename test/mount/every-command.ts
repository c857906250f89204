/** Uses a mount of a database on a server as its users do: files, history, and every command. */
import { closeSync, fsyncSync, openSync, readFileSync, writeSync } from 'node:fs'
import { mkdir, readFile, rename, rm, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { expect } from 'vitest'
import type { MountStatus } from '../../mount/daemon/call-results.ts'
import type { TestMount } from '../tools/mounted.ts'
import { runZblkfs } from '../tools/run-zblkfs.ts'

/** Writes a file, and syncs it. */
export function storeSynced(path: string, content: Uint8Array | string): void {
  const fd = openSync(path, 'w')
  try {
    if (typeof content === 'string') writeSync(fd, content)
    else writeSync(fd, content)
    fsyncSync(fd)
  } finally {
    closeSync(fd)
  }
}

/** The status of the mount at a directory. */
export async function statusOf(dir: string): Promise<MountStatus | undefined> {
  const { stdout } = await runZblkfs('status', '--json')
  return (JSON.parse(stdout) as MountStatus[]).find(({ directory }) => directory === dir)
}

/** Runs a command; expects it to succeed. @returns its output. */
export async function succeed(...parameters: readonly string[]): Promise<string> {
  const { exitCode, stdout, stderr } = await runZblkfs(...parameters)
  expect(stderr).toBe('')
  expect(exitCode).toBe(0)
  return stdout
}

/** Bytes that depend on a seed. */
export const bytes = (length: number, seed: number): Buffer =>
  Buffer.from(Uint8Array.from({ length }, (_, index) => (index * seed + (index >> 8)) & 255))

export async function useEveryCommand(mount: TestMount): Promise<void> {
  const { dir, db, scratch } = mount
  const big = bytes(9_000_001, 7)
  storeSynced(join(dir, 'big'), big)
  await mkdir(join(dir, 'directory'))
  await writeFile(join(dir, 'directory', 'small'), 'first')
  await succeed('sync', '-m', 'the first', dir)
  await succeed('tag', '--db', dir, 'before')
  await rename(join(dir, 'directory', 'small'), join(dir, 'moved'))
  storeSynced(join(dir, 'moved'), 'second')
  await rm(join(dir, 'big'))
  await succeed('sync', dir)
  expect(await readFile(join(dir, '@before/directory/small'), 'utf8')).toBe('first')
  expect(readFileSync(join(dir, '@before/big')).equals(big)).toBe(true)
  expect(await succeed('log', db)).toContain('the first')
  expect(await succeed('diff', '--db', db, 'before', 'now')).toContain('moved')
  await succeed('restore', '--at', 'before', join(dir, 'big'))
  await succeed('clone', join(dir, 'big'), join(dir, 'copy'))
  expect(readFileSync(join(dir, 'copy')).equals(big)).toBe(true)
  await succeed('pack', dir, '--keep', '0')
  expect(readFileSync(join(dir, '@before/big')).equals(big)).toBe(true)
  expect(await succeed('df', db)).toContain('the present state')
  expect((await statusOf(dir))?.connection).toEqual({ state: 'connected' })
  await mount.remount()
  expect(await readFile(join(dir, 'moved'), 'utf8')).toBe('second')
  await mount.unmount()
  expect(await succeed('fsck', '--data', db)).toContain('is clean')
  const data = join(scratch, 'Data.fs')
  expect(await succeed('export', db, data)).toContain('exported')
  expect(await succeed('cat', db, 'moved')).toBe('second')
}
