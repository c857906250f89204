import { Committer } from '../indexed/committer.ts'
import { PackWriter } from '../indexed/pack/pack-writer.ts'
import type { PostgresAddress } from './address.ts'
import { PostgresBulkReader, PostgresBulkWriter } from './postgres-bulk.ts'
import { runChange } from './change.ts'
import { PostgresIndexPacker } from './postgres-index-packer.ts'
import { PostgresIndexWriter } from './postgres-index-writer.ts'
import { Session } from './session.ts'
import type { WriterSession } from './writer-session.ts'

/** Opens the committer and the packer. @throws StoreError if the last transaction is damaged. */
export async function openWriters(
  writer: WriterSession,
  address: PostgresAddress,
): Promise<{ readonly committer: Committer; readonly packWriter: PackWriter }> {
  const index = new PostgresIndexWriter(writer)
  const bulk = new PostgresBulkWriter(
    () => index.pipeline,
    (text, values, name) => runChange(writer, text, values, name),
  )
  const packer = new PostgresIndexPacker(writer, () => Session.open(address))
  return {
    committer: await Committer.open({ index, bulk, reader: new PostgresBulkReader(index.queries) }),
    packWriter: new PackWriter(packer, bulk),
  }
}
