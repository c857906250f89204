/** Transactions as lines of text and JSON. */
import { readFileSync } from '../store/os-files.ts'
import { bytesOf } from '../store/os-text.ts'
import { decodedPath } from '../core/printable.ts'
import { isRegular } from '../core/tree/inode.ts'
import type { FileChange, Transaction, Writer } from '../core/database/changes.ts'
import { formatTime } from '../store/moments.ts'
import type { LineFormat } from './line-format.ts'
import { formatBytes } from './units.ts'

/** Files shown per transaction. */
export const FILES_SHOWN = 20
/** Files listed per transaction for programs: as many as a log names. */
export const ALL_FILES = 1000
const NAMED_ON_LINE = 3
const UNREADABLE = 'its changes cannot be read'

const MARKS = { added: 'A', removed: 'D', renamed: 'R', changed: 'M' } as const
const COLOURS = { added: 'green', removed: 'red', renamed: 'cyan', changed: 'yellow' } as const

/** A transaction with its message and its files. */
export function* transactionLines(transaction: Transaction, format: LineFormat): Generator<string> {
  const { tid, time, message, hasMessage, changes, fileCount, bytes, writers, damage } = transaction
  const files = damage === undefined ? `${fileCount} ${fileCount === 1 ? 'file' : 'files'}` : UNREADABLE
  const count = `${files}, ${formatBytes(bytes)}`
  const by = writers.length === 0 ? '' : `  ${writersText(writers, format)}`
  yield `${format.colour('magenta', tid)}  ${formatTime(time.getTime())}  ${count}${by}`
  if (message !== '' && hasMessage) yield `    ${format.text(message)}`
  for (const change of changes) yield* changeLines(change, format)
  if (fileCount > changes.length) yield `  and ${fileCount - changes.length} more`
}

/** A transaction in one line: its message, else its first files. */
export function transactionLine(
  { tid, time, message, hasMessage, changes, fileCount, damage }: Transaction,
  format: LineFormat,
): string {
  const shown = changes.slice(0, NAMED_ON_LINE)
  const names = shown.map(change => `${marked(change, format)} ${format.name(pathOf(change))}`)
  const more = fileCount > shown.length ? [`and ${fileCount - shown.length} more`] : []
  const what = damage === undefined ? [...names, ...more].join(', ') : UNREADABLE
  const about = hasMessage && message !== '' ? format.text(message) : what
  return `${format.colour('magenta', tid)}  ${formatTime(time.getTime())}  ${about}`
}

/** Lines that end in NUL have each name alone, so a rename has two. */
function* changeLines(change: FileChange, format: LineFormat): Generator<string> {
  const { kind, from } = change
  const mark = marked(change, format)
  if (format.isRaw) {
    if (kind === 'renamed' && from !== undefined) yield `  R  ${storedOf(from)}`
    yield `  ${kind === 'renamed' ? '>' : mark}  ${pathOf(change) || '/'}`
    return
  }
  const name = format.name(pathOf(change))
  const names = from === undefined ? name : `${format.name(storedOf(from))} -> ${name}`
  const sizes = sizesOf(change)
  yield `  ${mark}  ${names}${sizes === '' ? '' : `  (${sizes})`}`
}

const marked = ({ kind }: FileChange, format: LineFormat): string => format.colour(COLOURS[kind], MARKS[kind])

const pathOf = ({ pathBytes }: FileChange): string => Buffer.from(pathBytes).toString('latin1')

const storedOf = (path: string): string => bytesOf(path).toString('latin1')

/** A file's size, and by how much it has grown. */
function sizesOf({ mode, sizeBefore, sizeAfter }: FileChange): string {
  if (!isRegular({ mode })) return ''
  if (sizeAfter === undefined) return sizeBefore === undefined ? '' : `-${formatBytes(Number(sizeBefore))}`
  const size = formatBytes(Number(sizeAfter))
  if (sizeBefore === undefined || sizeBefore === sizeAfter) return size
  const growth = Number(sizeAfter - sizeBefore)
  return `${size}, ${growth < 0 ? '-' : '+'}${formatBytes(Math.abs(growth))}`
}

function writersText(writers: readonly Writer[], format: LineFormat): string {
  const byUser = new Map<number, string[]>()
  for (const { uid, pid, program } of writers)
    byUser.set(uid, [...(byUser.get(uid) ?? []), `${format.text(program === '' ? '?' : program)}[${pid}]`])
  return [...byUser].map(([uid, programs]) => `${userName(uid)}: ${programs.join(', ')}`).join('; ')
}

let users: ReadonlyMap<number, string> | undefined

/** The name of a user of this machine; the number of any other. */
function userName(uid: number): string {
  users ??= localUsers()
  return users.get(uid) ?? `user ${uid}`
}

function localUsers(): ReadonlyMap<number, string> {
  const found = new Map<number, string>()
  try {
    for (const line of readFileSync('/etc/passwd', 'utf8').split('\n')) {
      const [name, , uid] = line.split(':')
      if (name !== undefined && uid !== undefined && !found.has(Number(uid))) found.set(Number(uid), name)
    }
  } catch {
    // There are no names then.
  }
  return found
}

export function transactionAsJson(transaction: Transaction): string {
  const { tid, time, message, hasMessage, user, writers, changes, fileCount, objects, bytes, damage } =
    transaction
  return JSON.stringify({
    tid,
    time: time.toISOString(),
    message,
    hasMessage,
    user,
    writers,
    changes: changes.map(({ kind, pathBytes, from, mode, sizeBefore, sizeAfter }) => ({
      kind,
      path: decodedPath(Buffer.from(pathBytes).toString('latin1')),
      ...(from !== undefined && { from: decodedPath(storedOf(from)) }),
      mode: mode.toString(8),
      // A size may be beyond what every reader's numbers hold.
      ...(sizeBefore !== undefined && { sizeBefore: String(sizeBefore) }),
      ...(sizeAfter !== undefined && { sizeAfter: String(sizeAfter) }),
    })),
    fileCount,
    objects,
    bytes,
    ...(damage !== undefined && { damage: damage.message }),
  })
}
