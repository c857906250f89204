import { Committer } from '../indexed/committer.ts'
import type { BulkReader, BulkWriter } from '../indexed/bulk.ts'
import type { Seals } from '../encryption/seals.ts'
import { PackWriter } from '../indexed/pack/pack-writer.ts'
import type { RemoteBulk } from '../s3/remote-bulk.ts'
import type { S3BulkReader } from '../s3/s3-bulk-reader.ts'
import { ROWS_MAX_BYTES, S3BulkWriter } from '../s3/s3-bulk-writer.ts'
import type { SegmentId } from '../s3/segment.ts'
import type { SegmentMapWriter } from '../s3/segment-map.ts'
import type { PostgresAddress } from './address.ts'
import { PostgresBulkReader, PostgresBulkWriter } from './postgres-bulk.ts'
import { runChange } from './change.ts'
import type { Queries } from './postgres-index.ts'
import { PostgresIndexPacker } from './postgres-index-packer.ts'
import { PostgresIndexWriter } from './postgres-index-writer.ts'
import { PostgresSegmentMap, PostgresSegmentMapWriter } from './postgres-segment-map.ts'
import { Session } from './session.ts'
import type { WriterSession } from './writer-session.ts'

/** The writing parts of a Bulk in a bucket that outlive a commit. */
export interface RemoteWriters {
  readonly map: SegmentMapWriter
  readonly nextId: () => SegmentId
  /** Records the last id. No upload is in progress, and none follows. */
  readonly end: () => Promise<void>
  /** Called with the number of bytes that were added to rows. */
  onRows: (bytes: number) => void
}

export interface Writers {
  readonly committer: Committer
  readonly packWriter: PackWriter
  /** Undefined if bulk bytes are in rows. */
  readonly remote: RemoteWriters | undefined
}

export interface WritersParts {
  readonly writer: WriterSession
  readonly address: PostgresAddress
  /** Reads beside the writer's session. */
  readonly queries: Queries
  readonly remote: RemoteBulk | undefined
  /** The store's reader, which may remember positions that are discarded. */
  readonly onCut: (pos: number) => void
  /** Undefined for a database that is not encrypted. */
  readonly seals: Seals | undefined
}

/** Opens the committer and the packer. @throws StoreError if the last transaction is damaged. */
export async function openWriters({
  writer,
  address,
  queries,
  remote,
  onCut,
  seals,
}: WritersParts): Promise<Writers> {
  const index = new PostgresIndexWriter(writer, seals?.rows)
  const rows = new PostgresBulkWriter(
    () => index.pipeline,
    (text, values, name) => runChange(writer, text, values, name),
    seals?.segments,
  )
  const packer = new PostgresIndexPacker(writer, () => Session.open(address))
  const rowReader = new PostgresBulkReader(index.queries, seals?.segments)
  let bulk: BulkWriter = rows
  let reader: BulkReader = rowReader
  let remoteWriters: RemoteWriters | undefined
  if (remote !== undefined) {
    const remoteReader: S3BulkReader = remote.reader(new PostgresSegmentMap(index.queries, true), rowReader)
    let counter = 0
    const map = new PostgresSegmentMapWriter(writer, queries, () => index.pipeline)
    const writers: RemoteWriters = {
      map,
      nextId: () => ({ epoch: Number(writer.epoch), counter: ++counter }),
      end: async () => {
        if (counter > 0) await map.endEpoch({ epoch: Number(writer.epoch), counter })
      },
      onRows: () => undefined,
    }
    remoteWriters = writers
    reader = remoteReader
    bulk = new S3BulkWriter({
      client: remote.client,
      map,
      rows,
      databaseId: remote.databaseId,
      compression: remote.compression,
      seal: seals?.segments,
      rowsMaxBytes: remote.tuning.rowsMaxBytes ?? ROWS_MAX_BYTES,
      nextId: writers.nextId,
      onCut: pos => {
        remoteReader.forgetFrom(pos)
        onCut(pos)
      },
      onRows: bytes => writers.onRows(bytes),
    })
  }
  return {
    committer: await Committer.open({ index, bulk, reader }),
    packWriter: new PackWriter(packer, bulk),
    remote: remoteWriters,
  }
}
