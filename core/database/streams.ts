/** Databases that travel: sending a history as a stream, and receiving it (core/stream/). */
import { pack } from '../pack/pack.ts'
import { taggedMoments } from '../pack/moments.ts'
import { backUp } from '../stream/backup.ts'
import { isRawStream, startOf } from '../stream/raw.ts'
import { openStream, receiveHistory, type ReceiveResult } from '../stream/receive.ts'
import { measureHistory, sendHistory, type SendRange, type StreamSize } from '../stream/send.ts'
import { isCompressionName } from '../../store/compression.ts'
import { OpenedStream } from '../../store/sealed-stream.ts'
import { isDatabaseUrl } from '../../store/database-name.ts'
import { formatTid, parseTid, TID_NONE, type Tid } from '../../store/ids.ts'
import { resolveMoment } from '../../store/moments.ts'
import { openDatabase, removeEmptyDatabase } from '../../store/open-store.ts'
import { recognise } from '../../store/recognise.ts'
import type { Store, WritableStore } from '../../store/store.ts'
import { MomentView } from '../history/moment-view.ts'
import { storedName } from '../stored-names.ts'
import { receiveRaw } from './raw-streams.ts'
import type { BackedUp, BackupOptions, Received, ReceiveOptions, SendOptions } from './stream-options.ts'

type Range = Pick<SendOptions, 'from' | 'to' | 'selfContained' | 'key'>

/**
 * The history of a database as a stream, beside the process that writes it, if there is one.
 * @throws StoreError with the code `no-moment` or `no-transaction` if the range does not exist.
 */
export async function* send(
  name: string,
  { signal, onProgress, key, ...range }: SendOptions = {},
): AsyncGenerator<Buffer> {
  const store = await openDatabase(name, { readOnly: true, key })
  try {
    const options = { signal, ...(onProgress !== undefined && { onProgress }) }
    yield* sendHistory(store, await rangeOf(store, range), options)
  } finally {
    await store.close()
  }
}

/** The size of the stream that {@link send} would send; the bytes of files are not read. @throws as send */
export async function sizeToSend(name: string, { key, ...range }: Range = {}): Promise<StreamSize> {
  const store = await openDatabase(name, { readOnly: true, key })
  try {
    return await measureHistory(store, await rangeOf(store, range))
  } finally {
    await store.close()
  }
}

/**
 * Receives one stream, or several in a row, into a database, which is created if it does not exist. An interrupted stream
 * leaves the transactions that have arrived; the next stream may begin after the last of them. Raw streams are recognised; an interrupted one
 * leaves nothing.
 * @throws StoreError with the code `cut-stream` if the stream ended early, and `bad-stream`, `other-database`, `other-base`, `diverged` or
 * `history-dropped` if it does not fit; LockedError if another process writes the database.
 */
export async function receive(
  name: string,
  input: AsyncIterable<Uint8Array>,
  options: ReceiveOptions = {},
): Promise<Received> {
  const { start, whole } = await startOf(input)
  return isRawStream(start)
    ? await receiveRaw(name, whole, options)
    : await receiveStreams(name, whole, options)
}

async function receiveStreams(
  name: string,
  input: AsyncIterable<Uint8Array>,
  { pack = false, signal, onProgress, warn, key }: ReceiveOptions,
): Promise<Received> {
  const isNew = (await recognise(name)) === 'none'
  const opened = new OpenedStream(input, key)
  const stream = await openStream(opened)
  const purpose = 'receiving a stream'
  const options = { create: true, purpose, key, ...(warn !== undefined && { warn }) } as const
  const { compression } = stream.header
  const isCompressed = isNew && !isDatabaseUrl(name) && isCompressionName(compression)
  const { keys } = opened
  const isEncrypted = isNew && keys !== undefined
  const target = await openDatabase(name, {
    ...options,
    ...(isCompressed && { compression }),
    ...(isEncrypted && { encryption: 'aes-256-gcm', keys }),
  }).catch(async (error: unknown) => {
    await stream.frames.close()
    throw error
  })
  let isEmpty = false
  try {
    const result = await receiveHistory(target, stream, {
      signal,
      ...(onProgress !== undefined && { onProgress }),
    })
    if (pack) await packLikeSource(target, result)
    const { transactions, bytes, upTo } = result
    return { transactions, bytes, tid: formatTid(upTo) }
  } finally {
    isEmpty = (await target.lastTid().catch(() => undefined)) === TID_NONE
    await target.close()
    // Nothing of a stream that was refused.
    if (isNew && isEmpty) await removeEmptyDatabase(name)
  }
}

/**
 * Backs up a database as streams in a directory, which is created: everything the first time, then what has changed. Each file is
 * verified. {@link receive} restores them.
 * @throws StoreError with the code `other-database`, `not-whole` if a file is missing, or `locked` beside another backup.
 */
export async function backup(
  name: string,
  directory: string,
  options: BackupOptions = {},
): Promise<BackedUp> {
  const store = await openDatabase(name, { readOnly: true, key: options.key })
  try {
    const { upTo, ...result } = await backUp(store, directory, options)
    return { ...result, tid: formatTid(upTo) }
  } finally {
    await store.close()
  }
}

/** The last transaction of a database that may not exist; undefined if it has none. @throws CannotOpenError */
export async function lastReceived(name: string): Promise<string | undefined> {
  if ((await recognise(name)) === 'none') return undefined
  const store = await openDatabase(name, { readOnly: true, mayLackKey: true, key: async () => undefined })
  try {
    const tid = await store.lastTid()
    return tid === TID_NONE ? undefined : formatTid(tid)
  } finally {
    await store.close()
  }
}

async function packLikeSource(target: WritableStore, { moments }: ReceiveResult): Promise<void> {
  const kept = await target.capabilities.packing?.kept()
  if (moments === undefined || kept === undefined || kept.from >= moments.from) return
  const earlier = async (): Promise<readonly Tid[]> => [...moments.earlier, ...(await taggedMoments(target))]
  await pack(target, { from: moments.from, moments: earlier })
}

async function rangeOf(
  store: Store,
  { from, to, selfContained = false }: Omit<Range, 'key'>,
): Promise<SendRange> {
  return {
    isSelfContained: selfContained,
    ...(from !== undefined && { from: parseTid(from) ?? (await momentIn(store, from)) }),
    ...(to !== undefined && { to: await momentIn(store, to) }),
  }
}

/** The transaction that a moment refers to. @throws StoreError if there is none. */
const momentIn = async (store: Store, when: string): Promise<Tid> =>
  await resolveMoment(store, storedName(when), async name =>
    (await MomentView.open(store, await store.lastTid())).superblock.tag(name),
  )
