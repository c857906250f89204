/** `log`, `ls` and `cat` of an external ZODB database. */
import { foreignDifferences } from '../../core/foreign/foreign-difference.ts'
import { ForeignMoment, type ForeignPlace } from '../../core/foreign/foreign-moment.ts'
import { decodedPath, printablePath } from '../../core/printable.ts'
import { formatTid, tid as toTid, timeFromTid, type Tid } from '../../store/ids.ts'
import { formatTime } from '../../store/moments.ts'
import type { Store, TransactionInfo, TransactionRange } from '../../store/store.ts'
import { CommandError } from '../failure.ts'
import { lineFormat, type LineFormat, type LineOptions } from '../line-format.ts'
import { paged } from '../pager.ts'
import { formatBytes } from '../units.ts'
import { count } from './count.ts'

const PIECE_BYTES = 2 << 20

/**
 * Lists transactions, newest first; with a path, those that changed it or something below it. A ZODB database does not record
 * which file an object belongs to, so the files are compared for each transaction.
 */
export async function listTransactions(
  store: Store,
  { limit = Infinity, ...range }: TransactionRange,
  path: string,
  options: LineOptions,
): Promise<void> {
  const format = lineFormat(options)
  let left = limit
  if (left <= 0) return
  await paged(async line => {
    for await (const info of store.transactions({ ...range, reverse: true })) {
      if (path !== '' && !(await hasChanged(store, info.tid, path))) continue
      for (const text of options.json === true ? [asJson(info)] : asText(info, format))
        if (!(await line(text))) return
      if (--left <= 0) return
    }
  }, format)
}

async function hasChanged(store: Store, tid: Tid, path: string): Promise<boolean> {
  for await (const _ of foreignDifferences(store, toTid(tid - 1n), tid, path)) return true
  return false
}

/** Lists a directory, or one file. */
export async function listPlace(store: Store, at: Tid, path: string, options: LineOptions): Promise<void> {
  const format = lineFormat(options)
  const entryLine = (kind: 'directory' | 'file', size: bigint | undefined, name: string): string =>
    options.json === true
      ? JSON.stringify({
          name: decodedPath(name),
          type: kind,
          size: String(size ?? 0),
          mtime: new Date(timeFromTid(at)).toISOString(),
        })
      : `${kind === 'file' ? '-444' : 'd555'}  ${size ?? 0}  ${time}  ${format.name(name)}`
  const moment = await ForeignMoment.open(store, at)
  const place = await find(moment, path)
  const time = formatTime(timeFromTid(at))
  await paged(async line => {
    if (place.kind === 'file') {
      const { size } = await moment.open(place.file)
      await line(entryLine('file', size, path.slice(path.lastIndexOf('/') + 1)))
      return
    }
    for await (const { name, size } of moment.list(place.ref)) {
      if (!(await line(entryLine(size === undefined ? 'directory' : 'file', size, name)))) return
    }
  }, format)
}

/** The bytes of a file, in pieces. */
export async function* fileBytes(store: Store, at: Tid, path: string): AsyncGenerator<Uint8Array> {
  const moment = await ForeignMoment.open(store, at)
  const place = await find(moment, path)
  if (place.kind !== 'file') throw new CommandError(`${printablePath(path)} is not a regular file`)
  const file = await moment.open(place.file)
  for (let off = 0n; off < file.size; off += BigInt(PIECE_BYTES)) {
    const left = file.size - off
    yield* await moment.read(file, off, left < BigInt(PIECE_BYTES) ? Number(left) : PIECE_BYTES)
  }
}

async function find(moment: ForeignMoment, path: string): Promise<ForeignPlace> {
  const place = await moment.find(path)
  if (place === undefined)
    throw new CommandError(`there is no ${printablePath(path)} at ${formatTid(moment.at)}`)
  return place
}

function asJson({ tid, description, user, objects, bytes }: TransactionInfo): string {
  const time = new Date(timeFromTid(tid)).toISOString()
  return JSON.stringify({ tid: formatTid(tid), time, message: description, user, objects, bytes })
}

function asText({ tid, user, description, objects, bytes }: TransactionInfo, format: LineFormat): string[] {
  const sums = `${count(objects, 'object')}, ${formatBytes(bytes)}`
  const first = `${formatTid(tid)}  ${formatTime(timeFromTid(tid))}  ${sums}`
  const texts = [user, description].filter(text => text !== '').map(format.text)
  return texts.length === 0 ? [first] : [first, `    ${texts.join(': ')}`]
}
