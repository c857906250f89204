/** How new bulk bytes of a database are compressed: a property that the database stores as a note, changeable at any time. */

/** The name of the note. Absent for a database that was never compressed. */
export const COMPRESSION = 'compression'

export interface Compression {
  readonly method: 'zstd' | 'off'
  /** The size of the numbers whose bytes are shuffled first; 0 if they are not. */
  readonly elementBytes: number
}

export const NO_COMPRESSION: Compression = { method: 'off', elementBytes: 0 }

/** The values of `compression=`. */
export const COMPRESSIONS = ['off', 'zstd', 'zstd-shuffle2', 'zstd-shuffle4', 'zstd-shuffle8'] as const

export type CompressionName = (typeof COMPRESSIONS)[number]

/** Whether a text is one of {@link COMPRESSIONS}. */
export const isCompressionName = (text: string | undefined): text is CompressionName =>
  COMPRESSIONS.some(name => name === text)

/** The value of `compression=` that a note stands for. */
export const compressionName = (note: string | undefined): CompressionName =>
  isCompressionName(note) ? note : 'off'

/** The compression that a note names; an unknown one of a later version is off, which every reader can read. */
export function parseCompression(note: string | undefined): Compression {
  if (!isCompressionName(note) || note === 'off') return NO_COMPRESSION
  const elementBytes = Number(/\d+$/.exec(note)?.[0] ?? 0)
  return { method: 'zstd', elementBytes }
}
