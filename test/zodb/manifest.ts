/** What the test databases contain, as recorded when they were made. */
import { createHash } from 'node:crypto'
import { existsSync, readFileSync } from 'node:fs'
import { resolve } from 'node:path'

const own = resolve(import.meta.dirname, '../fixtures')
const shared = resolve(import.meta.dirname, '../../../shared/fixtures/zodb')

export interface ManifestBlock {
  readonly blk: number
  readonly kind: 'ZBlk0' | 'ZBlk1'
  /** Of all bytes of the block, zeros at its end included. */
  readonly sha256: string
}

export interface ManifestFile {
  readonly size: number
  readonly sha256: string
  readonly blocks: readonly ManifestBlock[]
}

interface Manifest {
  readonly files: Readonly<Record<string, { readonly oid: number; readonly blksize: number }>>
  readonly txns: readonly { readonly tid: string; readonly files: Readonly<Record<string, ManifestFile>> }[]
}

export interface Database {
  readonly name: string
  readonly path: string
  readonly missing: boolean
  readonly manifest: () => Manifest
}

const database = (name: string, directory: string): Database => ({
  name,
  path: `${directory}/${name}.fs`,
  missing: !existsSync(`${directory}/${name}.fs`),
  manifest: () => JSON.parse(readFileSync(`${directory}/${name}.json`, 'utf8')) as Manifest,
})

const UPSTREAM_TID = '0285cbac3851eb99'
const UPSTREAM_BLKSIZE = 2 << 20

/** wendelin.core's own: the same data in four flavours of pickles. */
const upstream = (flavour: string): Database => {
  const path = `${shared}/upstream/${flavour}/zblk.fs`
  return { name: flavour, path, missing: !existsSync(path), manifest: upstreamManifest }
}

function upstreamManifest(): Manifest {
  const zblk0 = Buffer.alloc(UPSTREAM_BLKSIZE)
  for (let i = 0; i < 4096; i++) zblk0.writeUInt32BE(i, 4 * i)
  const zblk1 = Buffer.alloc(UPSTREAM_BLKSIZE)
  for (let i = 0; i < 32_768; i++) zblk1.writeUInt32BE(i, 4 * i)
  const reversed = zblk1.subarray(0, 131_072).toReversed()
  zblk1.set(reversed, UPSTREAM_BLKSIZE - reversed.length)
  // What else is listed of them: their checksums, without the zeros at their ends.
  expectSha256(zblk0.subarray(0, 16_384), 'f3641a1e67168de9eab1170abc1f5c75d75bd7720ea7f57b7b065c17cafc8745')
  expectSha256(
    zblk1.subarray(0, 2_097_145),
    'a35d21a05e21b47a3febfe1dda6e862b76e26841bf93ddfe817613128cc21a88',
  )
  const hole = Buffer.alloc(UPSTREAM_BLKSIZE)
  const whole = Buffer.concat([hole, zblk0, hole, zblk1])
  const file: ManifestFile = {
    size: whole.length,
    sha256: sha256(whole),
    blocks: [
      { blk: 1, kind: 'ZBlk0', sha256: sha256(zblk0) },
      { blk: 3, kind: 'ZBlk1', sha256: sha256(zblk1) },
    ],
  }
  return {
    files: { zbigf: { oid: 1, blksize: UPSTREAM_BLKSIZE } },
    txns: [{ tid: UPSTREAM_TID, files: { zbigf: file } }],
  }
}

function expectSha256(bytes: Uint8Array, expected: string): void {
  if (sha256(bytes) !== expected)
    throw new Error(`the data of the upstream fixtures is not made as it should be`)
}

export const sha256 = (bytes: Uint8Array): string => createHash('sha256').update(bytes).digest('hex')

export const DATABASES: readonly Database[] = [
  database('tiny', own),
  database('small', shared),
  ...['py3_pickle3', 'py2_pickle3', 'py2_pickle2', 'py2_pickle1'].map(upstream),
]

/** Compares a file's bytes with what the manifest says of it; the first difference, if any. */
export function difference(bytes: Uint8Array, file: ManifestFile, blksize: number): string | undefined {
  if (bytes.length !== file.size) return `its size is ${bytes.length}, not ${file.size}`
  for (const { blk, sha256: expected } of file.blocks)
    if (sha256(bytes.subarray(blk * blksize, (blk + 1) * blksize)) !== expected) return `block ${blk} differs`
  return sha256(bytes) === file.sha256 ? undefined : 'it differs outside of its blocks'
}
