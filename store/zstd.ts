/**
 * Zstandard for short inputs. node:zlib makes a new context for each call, which costs several times what 16 KiB do, so the library
 * that Node contains is called directly, with contexts that are reused. Where a build of Node does not export it, node:zlib is
 * used. Each thread has its own contexts.
 */
import { constants, zstdCompressSync, zstdDecompressSync } from 'node:zlib'
import type { BlockCodec } from './compression.ts'
import { koffi } from './koffi.ts'

/** Through the functions of the library. @throws if this process does not have them. */
function openLibrary(): BlockCodec {
  const library = koffi.load(null)
  const createCompressor = library.func('void *ZSTD_createCCtx()') as () => unknown
  const createExpander = library.func('void *ZSTD_createDCtx()') as () => unknown
  const compress = library.func(
    'size_t ZSTD_compressCCtx(void *ctx, void *into, size_t room, const void *from, size_t length, int level)',
  ) as (
    ctx: unknown,
    into: Uint8Array,
    room: number,
    from: Uint8Array,
    length: number,
    level: number,
  ) => number | bigint
  const expand = library.func(
    'size_t ZSTD_decompressDCtx(void *ctx, void *into, size_t room, const void *from, size_t length)',
  ) as (ctx: unknown, into: Uint8Array, room: number, from: Uint8Array, length: number) => number | bigint
  const [compressor, expander] = [createCompressor(), createExpander()]
  // Errors are returned as lengths near 2^64.
  return {
    compress(from, into, level) {
      const length = Number(compress(compressor, into, into.length, from, from.length, level))
      return length <= into.length ? length : 0
    },
    expand: (from, into) => Number(expand(expander, into, into.length, from, from.length)) === into.length,
  }
}

/** Through node:zlib. */
export const zlibZstd: BlockCodec = {
  compress(from, into, level) {
    const bytes = zstdCompressSync(from, { params: { [constants.ZSTD_c_compressionLevel]: level } })
    if (bytes.length > into.length) return 0
    into.set(bytes)
    return bytes.length
  },
  expand(from, into) {
    try {
      const bytes = zstdDecompressSync(from, { maxOutputLength: into.length })
      if (bytes.length !== into.length) return false
      into.set(bytes)
      return true
    } catch {
      return false
    }
  },
}

let found: BlockCodec | undefined

/** The fastest implementation in this process. */
export function zstd(): BlockCodec {
  if (found !== undefined) return found
  try {
    found = openLibrary()
  } catch {
    found = zlibZstd
  }
  return found
}
