/**
 * Zstandard for short inputs. node:zlib makes a new context for each call, which costs several times what 16 KiB do, so the library
 * that Node contains is called directly, with contexts that are reused. Where a build of Node does not export it, node:zlib is
 * used. Each thread has its own contexts.
 */
import { promisify } from 'node:util'
import {
  constants,
  zstdCompress as zstdWithCallback,
  zstdCompressSync,
  zstdDecompressSync,
  type ZstdOptions,
} from 'node:zlib'
import type { BlockCodec } from './compression.ts'
import { callElsewhere, koffi } from './koffi.ts'

const zstdCompress = promisify(zstdWithCallback)

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
  // Makes a context: several calls may be in progress.
  const compressAlone = library.func(
    'size_t ZSTD_compress(void *into, size_t room, const void *from, size_t length, int level)',
  )
  const expand = library.func(
    'size_t ZSTD_decompressDCtx(void *ctx, void *into, size_t room, const void *from, size_t length)',
  ) as (ctx: unknown, into: Uint8Array, room: number, from: Uint8Array, length: number) => number | bigint
  const firstFrame = library.func('size_t ZSTD_findFrameCompressedSize(const void *from, size_t length)') as (
    from: Uint8Array,
    length: number,
  ) => number | bigint
  const [compressor, expander] = [createCompressor(), createExpander()]
  return {
    compress(from, into, level) {
      return fitting(compress(compressor, into, into.length, from, from.length, level), into)
    },
    async compressAsync(from, into, level) {
      const { result } = await callElsewhere(compressAlone, into, into.length, from, from.length, level)
      return fitting(result, into)
    },
    expand: (from, into) => Number(expand(expander, into, into.length, from, from.length)) === into.length,
    firstPiece: from => Number(firstFrame(from, from.length)),
  }
}

/** The length that a call returned; 0 for an error, which is a length near 2^64. */
function fitting(result: number | bigint, into: Uint8Array): number {
  const length = Number(result)
  return length <= into.length ? length : 0
}

/** Writes what node:zlib returned. */
function put(bytes: Uint8Array, into: Uint8Array): number {
  if (bytes.length > into.length) return 0
  into.set(bytes)
  return bytes.length
}

const atLevel = (level: number): ZstdOptions => ({ params: { [constants.ZSTD_c_compressionLevel]: level } })

/** Expands the first frame of some bytes. With `info`, node:zlib also says how long that was, which its types lack. */
const expandOne = zstdDecompressSync as unknown as (
  from: Uint8Array,
  options: { readonly maxOutputLength: number; readonly info: true },
) => { readonly buffer: Buffer; readonly engine: { readonly bytesWritten: number } }

/** Through node:zlib. */
export const zlibZstd: BlockCodec = {
  compress: (from, into, level) => put(zstdCompressSync(from, atLevel(level)), into),
  compressAsync: async (from, into, level) => put(await zstdCompress(from, atLevel(level)), into),
  expand(from, into) {
    try {
      let end = 0
      // One call expands one frame; there may be several.
      for (let at = 0; at < from.length;) {
        const { buffer, engine } = expandOne(from.subarray(at), {
          maxOutputLength: Math.max(1, into.length - end),
          info: true,
        })
        into.set(buffer, end)
        end += buffer.length
        at += engine.bytesWritten
      }
      return end === into.length
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
