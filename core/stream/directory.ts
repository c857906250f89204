/** The files of streams in a directory, as `backup` writes them. */
import { readdir, stat } from '../../store/os-files-async.ts'
import { join } from 'node:path'
import { StoreError } from '../../store/errors.ts'
import { parseTid, TID_NONE, type Tid } from '../../store/ids.ts'

/** A raw stream (raw.ts), or another one. */
export type StreamKind = 'stream' | 'raw'

const SUFFIX: Readonly<Record<StreamKind, string>> = { stream: '.zstream', raw: '.zraw' }

/** `NUMBER-FROM-TO.zstream` or `.zraw`; the transactions of the file are those after FROM up to TO. */
const NAME = /^(\d{6,})-([0-9a-f]{16})-([0-9a-f]{16})(\.zstream|\.zraw)$/
const NUMBER_DIGITS = 6

export interface StreamFile {
  readonly path: string
  readonly kind: StreamKind
  readonly number: number
  /** TID_NONE: the file has everything up to {@link StreamFile.to}. */
  readonly from: Tid
  readonly to: Tid
}

export const streamName = (kind: StreamKind, number: number, from: string, to: string): string =>
  `${String(number).padStart(NUMBER_DIGITS, '0')}-${from}-${to}${SUFFIX[kind]}`

/** In the order in which they were written. */
export async function streamFiles(directory: string): Promise<readonly StreamFile[]> {
  const files: StreamFile[] = []
  for (const name of await readdir(directory)) {
    const [, number, first = '', last = '', suffix] = NAME.exec(name) ?? []
    const [from, to] = [parseTid(first), parseTid(last)]
    if (number === undefined || from === undefined || to === undefined) continue
    const kind = suffix === SUFFIX.raw ? 'raw' : 'stream'
    files.push({ path: join(directory, name), kind, number: Number(number), from, to })
  }
  return files.toSorted((a, b) => a.number - b.number)
}

/** The files since the last one that begins with everything. */
export function lastRow(files: readonly StreamFile[]): readonly StreamFile[] {
  const start = files.findLastIndex(({ from }) => from === TID_NONE)
  return files.slice(Math.max(0, start))
}

/** The files to receive in order: a file itself, or the last row of a directory. @throws StoreError if there is none. */
export async function streamsIn(place: string): Promise<readonly string[]> {
  const found = await stat(place).catch(() => undefined)
  if (found === undefined) throw new StoreError(`${place} does not exist`)
  if (!found.isDirectory()) return [place]
  const files = lastRow(await streamFiles(place))
  if (files.length === 0) throw new StoreError(`${place} has no streams of a backup`)
  return files.map(({ path }) => path)
}

/** The sum of the lengths of files; one that cannot be read counts as nothing. */
export async function bytesIn(paths: readonly string[]): Promise<number> {
  const sizes = await Promise.all(
    paths.map(path =>
      stat(path).then(
        ({ size }) => size,
        () => 0,
      ),
    ),
  )
  return sizes.reduce((sum, size) => sum + size, 0)
}
