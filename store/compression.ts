/** How new bulk bytes of a database are compressed: a property that the database stores as a note, changeable at any time. */

/** The name of the note. Absent for a database that was never compressed. */
export const COMPRESSION = 'compression'

export type CompressionMethod = 'zstd' | 'lz4'

/** Compresses and expands the bytes of one frame. */
export interface BlockCodec {
  /** Compresses `from` to the start of `into`; returns the length, 0 if it does not fit. */
  compress(from: Uint8Array, into: Uint8Array, level: number): number

  /** As {@link BlockCodec.compress}, in a thread of libuv's pool. Both must stay as they are meanwhile. */
  compressAsync(from: Uint8Array, into: Uint8Array, level: number): Promise<number>

  /** Expands `from` to `into`; false if the result does not have exactly that length. */
  expand(from: Uint8Array, into: Uint8Array): boolean

  /** Expands the first bytes of `from` only, as many as `into` has; false if they cannot be expanded. Absent where that saves nothing. */
  expandStart?(from: Uint8Array, into: Uint8Array): boolean

  /** The length of the first of several compressed pieces, each of which expands by itself. Absent if there is one piece only. */
  firstPiece?(from: Uint8Array): number
}

export interface Compression {
  readonly method: CompressionMethod | 'off'
  /** Of Zstandard: negative levels code no entropy. Of LZ4: its acceleration. docs/notes.md has figures. */
  readonly level: number
  /** The size of the numbers whose bytes are shuffled first; 0 if they are not. */
  readonly elementBytes: number
}

export const NO_COMPRESSION: Compression = { method: 'off', level: 0, elementBytes: 0 }

/** The values of `compression=`. */
export const COMPRESSIONS = [
  'off',
  'lz4',
  'zstd',
  'zstd-3',
  'zstd-shuffle2',
  'zstd-shuffle4',
  'zstd-shuffle8',
] as const

export type CompressionName = (typeof COMPRESSIONS)[number]

/** A random read expands a whole frame, so the default level is one that expands fast. Columns of numbers gain from entropy coding. */
const SETTINGS: Readonly<Record<Exclude<CompressionName, 'off'>, Compression>> = {
  lz4: { method: 'lz4', level: 1, elementBytes: 0 },
  zstd: { method: 'zstd', level: -1, elementBytes: 0 },
  'zstd-3': { method: 'zstd', level: 3, elementBytes: 0 },
  'zstd-shuffle2': { method: 'zstd', level: 1, elementBytes: 2 },
  'zstd-shuffle4': { method: 'zstd', level: 1, elementBytes: 4 },
  'zstd-shuffle8': { method: 'zstd', level: 1, elementBytes: 8 },
}

/** Whether a text is one of {@link COMPRESSIONS}. */
export const isCompressionName = (text: string | undefined): text is CompressionName =>
  COMPRESSIONS.some(name => name === text)

/** The value of `compression=` that a note stands for. */
export const compressionName = (note: string | undefined): CompressionName =>
  isCompressionName(note) ? note : 'off'

/** The compression that a note names; an unknown one of a later version is off, which every reader can read. */
export function parseCompression(note: string | undefined): Compression {
  if (!isCompressionName(note) || note === 'off') return NO_COMPRESSION
  return SETTINGS[note]
}
