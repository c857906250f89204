import type { Capabilities, RevisionSums, Sums } from '../../../store/capabilities.ts'
import { CorruptRecordError } from '../../../store/errors.ts'
import type { StoredRevision } from '../../../store/stored-revisions.ts'

/** What encryption adds to a row: a nonce and a tag. */
export const extraRowBytes = ({ encrypting }: Capabilities): number => (encrypting === undefined ? 0 : 28)

/** Counts what `Measuring.sums` says, from the length of each record. */
export async function counted(capabilities: Capabilities): Promise<Sums> {
  const { measuring } = capabilities
  if (measuring === undefined) throw new TypeError('no measuring')
  const reader = measuring.reader()
  try {
    let [all, past] = [NOTHING, NOTHING]
    const { lastTid } = await reader.totals()
    let objects = 0
    for await (const oids of reader.oids())
      for (const oid of oids) {
        objects++
        let isNewest = true
        for await (const batch of reader.revisions([oid], lastTid))
          for (const revision of batch) {
            const [record] = await reader.records([revision], 0)
            if (record instanceof CorruptRecordError) throw record
            const bytes = record === undefined ? 0 : record.size + extraRowBytes(capabilities)
            all = added(all, revision, bytes)
            if (!isNewest) past = added(past, revision, bytes)
            isNewest = false
          }
      }
    return { objects, all, past }
  } finally {
    reader.close()
  }
}

const NOTHING: RevisionSums = { revisions: 0, rowBytes: 0, bulkBytes: 0 }

const added = (
  { revisions, rowBytes, bulkBytes }: RevisionSums,
  { ownBytes }: StoredRevision,
  bytes: number,
): RevisionSums => ({
  revisions: revisions + 1,
  rowBytes: rowBytes + ownBytes,
  bulkBytes: bulkBytes + bytes - ownBytes,
})
