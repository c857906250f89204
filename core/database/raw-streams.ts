/** Encrypted databases that travel as they are stored, without their keys (core/stream/raw.ts). */
import { StoreError } from '../../store/errors.ts'
import { formatTid, parseTid } from '../../store/ids.ts'
import { openDatabase, openRawTarget, removeEmptyDatabase } from '../../store/open-store.ts'
import type { RawHeader, RawSending } from '../../store/raw-stream.ts'
import { recognise } from '../../store/recognise.ts'
import type { ReadOnlyStore } from '../../store/store.ts'
import { backUpRaw } from '../stream/raw-backup.ts'
import { RawStreamReader, rawStream } from '../stream/raw.ts'
import type { BackedUp, BackupOptions, Received, ReceiveOptions, SendOptions } from './stream-options.ts'

/** No key is asked for. */
const NO_KEY = { mayLackKey: true, key: async () => undefined } as const

/**
 * An encrypted database as a raw stream, beside the process that writes it, if there is one.
 * @param options.from the last transaction that the receiver has, 16 hex digits; absent: everything is sent.
 * @throws StoreError `usage` if it is not an encrypted database in a file, `no-transaction`
 */
export async function* sendRaw(
  name: string,
  { from, signal, onProgress }: Pick<SendOptions, 'from' | 'signal' | 'onProgress'> = {},
): AsyncGenerator<Buffer> {
  const store = await openDatabase(name, { readOnly: true, ...NO_KEY })
  try {
    const source = rawSendingOf(store)
    const tid = from === undefined ? undefined : parseTid(from)
    const base = tid === undefined ? undefined : await source.pointAt(tid)
    if (from !== undefined && base === undefined)
      throw new StoreError(`${name} has no transaction ${from} to continue after`, { code: 'no-transaction' })
    yield* rawStream(source.parts(base), (done, total) => {
      signal?.throwIfAborted()
      onProgress?.(done, total)
    })
  } finally {
    await store.close()
  }
}

/** As `backup` of streams.ts, with raw streams. @throws StoreError as there, and `usage` as {@link sendRaw}. */
export async function backupRaw(
  name: string,
  directory: string,
  options: Omit<BackupOptions, 'key'> = {},
): Promise<BackedUp> {
  const store = await openDatabase(name, { readOnly: true, ...NO_KEY })
  try {
    const { upTo, ...result } = await backUpRaw(rawSendingOf(store), directory, options)
    return { ...result, tid: formatTid(upTo) }
  } finally {
    await store.close()
  }
}

/** Receives raw streams into a copy, which is made if it does not exist. @throws as `receive` of streams.ts. */
export async function receiveRaw(
  name: string,
  input: AsyncIterable<Uint8Array>,
  { signal, onProgress }: Pick<ReceiveOptions, 'signal' | 'onProgress'> = {},
): Promise<Received> {
  const isNew = (await recognise(name)) === 'none'
  const reader = new RawStreamReader(input)
  let [transactions, bytes, isEmpty] = [0, 0, true]
  try {
    const first = await reader.begin()
    if (first === undefined) throw new StoreError('there is no stream', { code: 'cut-stream' })
    const { header, target } = await openRawTarget(name, first)
    try {
      let tid = formatTid(header.upTo)
      for (let next: RawHeader | undefined = header; next !== undefined;) {
        const [before, total] = [bytes, bytes + next.bytes]
        let done = before
        const received = await target.receive(next, reader.parts(), added => {
          signal?.throwIfAborted()
          done += added
          onProgress?.(done, Math.max(done, total))
        })
        isEmpty = false
        transactions += received.transactions
        bytes = before + received.bytes
        tid = formatTid(received.upTo)
        const begin = await reader.begin()
        next = begin && target.headerOf(begin)
      }
      return { transactions, bytes, tid }
    } finally {
      target.close()
    }
  } finally {
    await reader.close()
    // Nothing of a stream that was refused.
    if (isNew && isEmpty && (await recognise(name)) !== 'none') await removeEmptyDatabase(name)
  }
}

/** @throws StoreError `usage` */
function rawSendingOf({ name, capabilities }: ReadOnlyStore): RawSending {
  if (capabilities.rawSending !== undefined) return capabilities.rawSending
  const reason =
    capabilities.encrypting === undefined
      ? 'it is not encrypted'
      : capabilities.branch === undefined
        ? 'it is on a server'
        : 'it is a branch'
  throw new StoreError(`${name} cannot be sent as it is stored: ${reason}`, { code: 'usage' })
}
