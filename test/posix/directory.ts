/** The arguments of a test of the suite, and its failures. */
import assert from 'node:assert/strict'
import { closeSync, fstatSync, lstatSync, mkdirSync, openSync, readFileSync, readdirSync } from 'node:fs'
import { writeFileSync, type BigIntStats } from 'node:fs'
import { join } from 'node:path'

/** An empty directory on the filesystem under test, of the test's own. */
export class Directory {
  readonly path: string
  /** How many entries a big directory has here. */
  readonly entries: number

  constructor(path: string, entries: number) {
    this.path = path
    this.entries = entries
  }

  /** A path in it. */
  at(...names: readonly string[]): string {
    return join(this.path, ...names)
  }

  /** Makes a file and returns its path. */
  file(name: string, data: string | Uint8Array = '', mode = 0o644): string {
    writeFileSync(this.at(name), data, { mode })
    return this.at(name)
  }

  /** Makes a directory and returns its path. */
  directory(name: string, mode = 0o755): string {
    mkdirSync(this.at(name), { mode })
    return this.at(name)
  }

  /** The sorted names in it, or in a directory below. */
  list(...names: readonly string[]): string[] {
    return readdirSync(this.at(...names)).sort()
  }
}

/** A test: passes, throws an assertion, or throws {@link Skipped}. */
export type Test = (dir: Directory) => Promise<void> | void

/** Sentences and the tests that show them. */
export type Tests = Readonly<Record<string, Test>>

/** Thrown by a test that this machine or this user cannot run. */
export class Skipped extends Error {
  override readonly name = 'Skipped'
}

/** Ends a test that needs root. */
export function needsRoot(): void {
  if (process.getuid?.() !== 0) throw new Skipped('needs root')
}

/** Expects an errno, or one of several where POSIX leaves the choice. */
export function fails(codes: string | readonly string[], action: () => unknown): void {
  const expected = [codes].flat()
  let result: unknown
  try {
    result = action()
  } catch (error) {
    const code = (error as NodeJS.ErrnoException).code ?? String(error)
    assert.ok(expected.includes(code), `expected ${expected.join(' or ')}, got ${code}`)
    return
  }
  if (typeof result === 'number') closeSync(result)
  assert.fail(`expected ${expected.join(' or ')}, but it succeeded`)
}

/** Runs an action with an open descriptor and closes it. */
export function withFd<T>(path: string, flags: string | number, action: (fd: number) => T, mode = 0o644): T {
  const fd = openSync(path, flags, mode)
  try {
    return action(fd)
  } finally {
    closeSync(fd)
  }
}

/** A path's attributes, symlinks not followed, or a descriptor's. */
export const stat = (of: string | number): BigIntStats =>
  typeof of === 'number' ? fstatSync(of, { bigint: true }) : lstatSync(of, { bigint: true })

/** The permission bits of a path. */
export const permissions = (path: string): number => Number(stat(path).mode) & 0o7777

/** A file's whole content as text. */
export const text = (path: string): string => readFileSync(path, 'latin1')

/** Whether a path exists, symlinks not followed. */
export const exists = (path: string): boolean => lstatSync(path, { throwIfNoEntry: false }) !== undefined

/**
 * Runs an action with another user's rights: effective ids and groups, as the filesystem sees them.
 * @throws Skipped unless this is root.
 */
export function asUser<T>(uid: number, gid: number, action: () => T, groups: number[] = []): T {
  needsRoot()
  const before = process.getgroups?.() ?? []
  process.setgroups?.(groups)
  process.setegid?.(gid)
  process.seteuid?.(uid)
  try {
    return action()
  } finally {
    process.seteuid?.(0)
    process.setegid?.(0)
    process.setgroups?.(before)
  }
}

/** Bytes that tell their position, so that a shifted read is noticed. */
export function pattern(len: number, seed = 0): Buffer {
  const bytes = Buffer.alloc(len)
  for (let at = 0; at < len; at++) bytes[at] = (at * 31 + (at >> 8) * 7 + seed * 13 + 1) & 0xff
  return bytes
}

/** Waits until a coarse clock has moved on, so that a new timestamp differs from one taken before. */
export const tick = (): Promise<void> => new Promise(resolve => setTimeout(resolve, 15))
