/**
 * Exports a zblkfs database to a FileStorage: transaction by transaction, each record unchanged. Our records are ZODB
 * records; `root['zblkfs']` leads through stock classes to every file's ZBigFile.
 *
 * A FileStorage cannot store texts of more than 65,535 bytes: they are cut, with a warning. Bytes that records share in
 * our database are written out in each. A deleted object is deleted by the same transaction.
 */
import { bytesOf, textOf } from '../../store/os-text.ts'
import { formatTid, TID_NONE, type Oid, type Tid, knownTid } from '../../store/ids.ts'
import type { RecordToWrite, Store, TransactionInfo, TransactionWriter } from '../../store/store.ts'
import { NO_BYTES } from '../../store/bytes.ts'

export interface ExportOptions {
  readonly source: Store
  readonly writer: TransactionWriter
  /** The transactions `(after, upTo]` are exported. */
  readonly after: Tid
  readonly upTo: Tid
  /** Receives the number of bytes of records written. */
  readonly progress?: (bytes: number) => void
  /** Receives a warning for each text that is cut. */
  readonly warn?: (message: string) => void
}

export interface ExportResult {
  readonly transactions: number
  readonly records: number
}

/** Records loaded together; a record may be as large as a block. */
const BATCH = 8
const MAX_TEXT_BYTES = 0xffff

/** Appends transactions to a FileStorage. After a failure it contains the transactions before. @throws StoreError */
export async function exportTransactions(options: ExportOptions): Promise<ExportResult> {
  const { source, writer, after, upTo, warn } = options
  let transactions = 0
  let records = 0
  for await (const info of source.transactions({ after, upTo })) {
    await writer.append({
      ...cutTexts(info, message => warn?.(`transaction ${formatTid(info.tid)}: ${message}`)),
      tid: info.tid,
      records: recordsOf(options, info.tid, () => records++),
    })
    transactions++
  }
  return { transactions, records }
}

async function* recordsOf(
  { source, progress }: ExportOptions,
  tid: Tid,
  onRecord: () => void,
): AsyncGenerator<RecordToWrite> {
  const before = knownTid(tid - 1n)
  for await (const { oids } of source.changes(before > TID_NONE ? before : TID_NONE, tid))
    for (let i = 0; i < oids.length; i += BATCH) {
      const batch: readonly Oid[] = oids.slice(i, i + BATCH)
      const revisions = await source.load(batch, tid)
      for (const [j, oid] of batch.entries()) {
        const record = revisions[j]?.record ?? null
        onRecord()
        progress?.(record?.length ?? 0)
        yield { oid, record }
      }
    }
}

type Texts = Pick<TransactionInfo, 'user' | 'description' | 'extension'>

/** Cuts texts to the limits of a FileStorage. */
function cutTexts({ user, description, extension }: Texts, warn: (message: string) => void): Texts {
  const cut = (what: string, text: string): string => {
    const bytes = bytesOf(text)
    if (bytes.length <= MAX_TEXT_BYTES) return text
    warn(`its ${what} of ${bytes.length} bytes is cut at ${MAX_TEXT_BYTES}`)
    // Do not cut within a character, which has up to three bytes after its first.
    let end = MAX_TEXT_BYTES
    while (end > MAX_TEXT_BYTES - 3 && ((bytes[end] ?? 0) & 0xc0) === 0x80) end--
    return textOf(bytes.subarray(0, end))
  }
  if (extension.length > MAX_TEXT_BYTES)
    warn(
      `its extension of ${extension.length} bytes is left out: the limit of a FileStorage is ${MAX_TEXT_BYTES}`,
    )
  return {
    user: cut('user', user),
    description: cut('description', description),
    extension: extension.length > MAX_TEXT_BYTES ? NO_BYTES : extension,
  }
}
