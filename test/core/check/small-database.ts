/** A small database with every kind of inode, and some history. */
import { createHash } from 'node:crypto'
import { constants } from 'node:fs'
import type { CompressionName } from '../../../store/compression.ts'
import { openSqliteStore } from '../../../store/sqlite/open/open-sqlite-store.ts'
import { FileSystem } from '../../../core/file-system/file-system.ts'
import { Paths } from '../../tools/paths.ts'

const PIECE_BYTES = 1 << 20
const HASHED_MAX_BYTES = 64 << 20

/** Bytes that differ from place to place and from seed to seed. */
export function pattern(length: number, seed: number): Buffer {
  const words = Uint32Array.from({ length: Math.ceil(length / 4) }, (_, at) => {
    let mixed = Math.imul(at + 1, 0x9e37_79b9) ^ Math.imul(seed, 0x85eb_ca6b)
    mixed = Math.imul(mixed ^ (mixed >>> 16), 0x85eb_ca6b)
    mixed = Math.imul(mixed ^ (mixed >>> 13), 0xc2b2_ae35)
    return mixed ^ (mixed >>> 16)
  })
  return Buffer.from(words.buffer, 0, length)
}

/** Creates it at `path`. `small`: without files of blocks. */
export async function makeSmallDatabase(
  path: string,
  small = false,
  compression: CompressionName = 'off',
): Promise<void> {
  const store = await openSqliteStore(path, { create: true, compression })
  const fs = await FileSystem.open(store, { owner: { uid: 0, gid: 0 } })
  const paths = new Paths(fs)
  await paths.mkdir('/a')
  await paths.mkdir('/a/b')
  await paths.write('/a/text', 'hello')
  await paths.write('/a/b/chunks', pattern(small ? 9000 : 70_000, 1))
  await paths.symlink('../text', '/a/b/link')
  await paths.link('/a/text', '/a/b/second')
  await fs.sync('first')
  // As much as goes to the log.
  if (small) await paths.write('/a/logged', pattern(66_000, 5))
  else {
    await paths.write('/a/whole', pattern(2 << 20, 2))
    await paths.write('/a/whole', pattern(100_000, 3), BigInt(2 << 20))
    await paths.mkdir('/many')
    for (let i = 0; i < 100; i++) await paths.write(`/many/file ${i}`, `content ${i}`)
  }
  await fs.sync('second')
  await paths.write('/a/b/chunks', pattern(3000, 4), 5000n)
  await paths.write('/a/text', 'HELLO again')
  await paths.rename('/a/text', '/a/renamed')
  await paths.write('/gone', 'gone soon')
  await fs.sync('third')
  await paths.unlink('/gone')
  await fs.close()
}

/** What a tree holds, by path: a hash of a file's bytes, a link's target, or the error that reading gives. */
export async function readTree(paths: Paths, path = ''): Promise<Map<string, string>> {
  const tree = new Map<string, string>()
  const read = async (name: string): Promise<void> => {
    const { mode } = await paths.stat(name)
    const type = mode & 0o170000
    if (type === 0o040000) {
      tree.set(name, 'directory')
      for (const below of await paths.list(name))
        await read(`${name}/${below}`).catch((error: unknown) => tree.set(`${name}/${below}`, failure(error)))
    } else if (type === 0o120000) tree.set(name, `-> ${await paths.readlink(name)}`)
    else tree.set(name, await hashOf(paths, name))
  }
  await read(path).catch((error: unknown) => tree.set(path, failure(error)))
  return tree
}

/** A hash of a file's first bytes, read in pieces: a damaged size can be anything. */
async function hashOf(paths: Paths, name: string): Promise<string> {
  const hash = createHash('sha256')
  const file = await paths.open(name, constants.O_RDONLY)
  try {
    for (let off = 0; off < HASHED_MAX_BYTES; off += PIECE_BYTES) {
      const piece = await paths.readAt(file, BigInt(off), PIECE_BYTES)
      hash.update(piece)
      if (piece.length < PIECE_BYTES) break
    }
  } finally {
    await paths.close(file)
  }
  return hash.digest('hex')
}

export const FAILED = 'cannot be read: '

const failure = (error: unknown): string =>
  `${FAILED}${error instanceof Error ? `${error.name}: ${error.message}` : String(error)}`
