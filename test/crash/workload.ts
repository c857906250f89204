/** Random operations, each valid for the tree that it was generated for, and how to perform them on a directory. */
import * as fs from 'node:fs/promises'
import { join } from 'node:path'
import type { Random } from '../stress/random.ts'
import { contentOf, type Described, hashOf, type Operation, type TreeModel } from './tree-model.ts'

const FILES_MAX = 60
const SIZE_MAX = 400_000
const WRITE_MAX = 120_000
const PAGE_BYTES = 4096

/** The mix of operations. `data`: almost only writes and syncs, as by a database; `names`: few writes, many syncs. */
export type Mix = 'all' | 'data' | 'names'

const WRITE_DICE = 14
const OTHERS_DICE = 50
const SYNC_DICE = 88

/** The next operation for the model's present tree. */
export function nextOperation(model: TreeModel, random: Random, mix: Mix = 'all'): Operation {
  for (;;) {
    const operation = propose(model, random, diceOf(mix, random))
    if (operation !== undefined) return operation
  }
}

function diceOf(mix: Mix, random: Random): number {
  if (mix === 'all' || random.below(20) === 0) return random.below(100)
  if (random.below(2) === 0) return SYNC_DICE
  if (mix === 'data') return WRITE_DICE
  const dice = random.below(WRITE_DICE + SYNC_DICE - OTHERS_DICE)
  return dice < WRITE_DICE ? dice : dice - WRITE_DICE + OTHERS_DICE
}

function propose(model: TreeModel, random: Random, dice: number): Operation | undefined {
  const pick = (paths: readonly string[]): string | undefined => paths[random.below(paths.length)]
  const files = model.paths('file')
  const directories = ['', ...model.paths('directory')]
  const fresh = (): string | undefined => {
    const path = `${pick(directories) ?? ''}/n${random.below(200)}`
    return model.has(path) || path.split('/').length > 6 ? undefined : path
  }
  const path = pick(files)
  const made = fresh()
  if (dice < 14 || path === undefined)
    return made === undefined || files.length >= FILES_MAX
      ? undefined
      : { kind: 'create', path: made, mode: 0o600 }
  if (dice < 50) {
    const off = random.below(2) === 0 ? model.sizeOf(path) : random.below(SIZE_MAX - WRITE_MAX)
    const len = 1 + random.below(random.below(3) === 0 ? WRITE_MAX : 6000)
    return off + len > SIZE_MAX ? undefined : inOneRequest({ path, off, len }, random)
  }
  if (dice < 56) return { kind: 'truncate', path, size: random.below(SIZE_MAX) }
  if (dice < 59) return { kind: 'chmod', path, mode: 0o600 + random.below(0o100) }
  if (dice < 63)
    return made === undefined || directories.length > 12 ? undefined : { kind: 'mkdir', path: made }
  if (dice < 65)
    return made === undefined ? undefined : { kind: 'symlink', path: made, target: `to/${random.below(1e6)}` }
  if (dice < 69) return made === undefined ? undefined : { kind: 'link', path, to: made }
  if (dice < 76)
    return { kind: 'unlink', path: random.below(4) === 0 ? (pick(model.paths('link')) ?? path) : path }
  if (dice < 78) {
    const empty = directories.find(directory => directory !== '' && model.isEmpty(directory))
    return empty === undefined ? undefined : { kind: 'rmdir', path: empty }
  }
  if (dice < 88) return proposeRename(model, random, path, pick(files) ?? path, made, pick(directories))
  return { kind: 'sync', path: random.below(4) === 0 ? '' : path }
}

/**
 * An atomic write. The kernel splits a write(2) that begins within an uncached page at the end of that
 * page, so half of these begin at a page boundary and half end at one.
 */
export function inOneRequest(
  { path, off, len }: { readonly path: string; readonly off: number; readonly len: number },
  random: Random,
): Operation {
  const within = off % PAGE_BYTES
  const write = { kind: 'write' as const, path, seed: random.below(2 ** 32) }
  if (within === 0 || within + len <= PAGE_BYTES) return { ...write, off, len }
  return random.below(2) === 0
    ? { ...write, off: off - within, len }
    : { ...write, off, len: PAGE_BYTES - within }
}

function proposeRename(
  model: TreeModel,
  random: Random,
  file: string,
  other: string,
  made: string | undefined,
  directory: string | undefined,
): Operation | undefined {
  const kind = 'rename'
  if (random.below(3) === 0) return model.isSame(file, other) ? undefined : { kind, path: file, to: other }
  if (made === undefined) return undefined
  if (random.below(3) > 0 || directory === undefined || directory === '')
    return { kind, path: file, to: made }
  return made.startsWith(`${directory}/`) || made.split('/').length > 4
    ? undefined
    : { kind, path: directory, to: made }
}

/** Performs an operation below `root`, as one change. */
export async function perform(root: string, operation: Operation): Promise<void> {
  const { kind } = operation
  const path = join(root, operation.path)
  if (kind === 'create') {
    const file = await fs.open(path, 'wx', operation.mode)
    await file.close()
  } else if (kind === 'write') {
    await using(path, 'r+', file =>
      file.write(contentOf(operation.seed, operation.len), 0, operation.len, operation.off),
    )
  } else if (kind === 'truncate') await using(path, 'r+', file => file.truncate(operation.size))
  else if (kind === 'chmod') await fs.chmod(path, operation.mode)
  else if (kind === 'mkdir') await fs.mkdir(path)
  else if (kind === 'rmdir') await fs.rmdir(path)
  else if (kind === 'unlink') await fs.unlink(path)
  else if (kind === 'symlink') await fs.symlink(operation.target, path)
  else if (kind === 'link') await fs.link(path, join(root, operation.to))
  else if (kind === 'rename') await fs.rename(path, join(root, operation.to))
  else await using(path, 'r', file => file.sync())
}

async function using(
  path: string,
  flags: string,
  work: (file: fs.FileHandle) => Promise<unknown>,
): Promise<void> {
  const file = await fs.open(path, flags)
  try {
    await work(file)
  } finally {
    await file.close()
  }
}

/** The hash of an actual tree, read through the filesystem. */
export async function hashTree(root: string): Promise<bigint> {
  return [...(await hashPaths(root)).values()].reduce((hash, one) => hash ^ one, 0n)
}

/** The hash of each path below `root`. */
export async function hashPaths(root: string): Promise<ReadonlyMap<string, bigint>> {
  const hashes = new Map<string, bigint>()
  for (const entry of await fs.readdir(root, { recursive: true }))
    hashes.set(`/${entry}`, hashOf(`/${entry}`, await describe(join(root, entry))))
  return hashes
}

async function describe(path: string): Promise<Described> {
  const { mode, nlink: links } = await fs.lstat(path)
  const type = mode & 0o170000
  if (type === 0o040000) return { type: 'directory', mode: 0, links: 1, content: Buffer.alloc(0) }
  if (type === 0o120000)
    return { type: 'link', mode: 0, links, content: Buffer.from(await fs.readlink(path)) }
  return { type: 'file', mode: mode & 0o7777, links, content: await fs.readFile(path) }
}
