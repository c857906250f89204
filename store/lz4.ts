/**
 * LZ4, through the library of the system. Node does not contain it, but nearly every Linux system has it; without it the block format in
 * TypeScript (lz4-block.ts) takes its place, which is slower. All functions may be called in any thread.
 */
import type { BlockCodec } from './compression.ts'
import { callElsewhere, koffi } from './koffi.ts'
import { typescriptLz4 } from './lz4-block.ts'

const LIBRARY = 'liblz4.so.1'

type Call = (
  from: Uint8Array,
  into: Uint8Array,
  length: number,
  room: number,
  acceleration?: number,
) => number

/** @throws if the system does not have the library. */
function openLibrary(): BlockCodec {
  const library = koffi.load(LIBRARY)
  const compress = library.func(
    'int LZ4_compress_fast(const void *from, void *into, int length, int room, int acceleration)',
  )
  const expand = library.func(
    'int LZ4_decompress_safe(const void *from, void *into, int length, int room)',
  ) as Call
  const expandStart = library.func(
    'int LZ4_decompress_safe_partial(const void *from, void *into, int length, int wanted, int room)',
  ) as Call
  return {
    compress: (from, into, level) => (compress as Call)(from, into, from.length, into.length, level),
    async compressAsync(from, into, level) {
      return (await callElsewhere(compress, from, into, from.length, into.length, level)).result
    },
    expand: (from, into) => expand(from, into, from.length, into.length) === into.length,
    expandStart: (from, into) =>
      expandStart(from, into, from.length, into.length, into.length) === into.length,
  }
}

let found: BlockCodec | undefined

/** The fastest implementation in this process. */
export function lz4(): BlockCodec {
  if (found !== undefined) return found
  try {
    found = openLibrary()
  } catch {
    found = typescriptLz4
  }
  return found
}
