import type { Measuring, RevisionSums, Sums } from '../../../store/capabilities.ts'
import type { StoredRevision } from '../../../store/stored-revisions.ts'

/** Counts what `Measuring.sums` says. No revisions may share parts of a unit. */
export async function counted(measuring: Measuring): Promise<Sums> {
  const reader = measuring.reader()
  try {
    const [all, past] = [new Counter(reader.unitBytes), new Counter(reader.unitBytes)]
    const { lastTid } = await reader.totals()
    let objects = 0
    for await (const oids of reader.oids())
      for (const oid of oids) {
        objects++
        let isNewest = true
        for await (const batch of reader.revisions([oid], lastTid))
          for (const revision of batch) {
            all.add(revision)
            if (!isNewest) past.add(revision)
            isNewest = false
          }
      }
    return { objects, all: all.sums, past: past.sums }
  } finally {
    reader.close()
  }
}

class Counter {
  readonly #unitBytes: number
  sums: RevisionSums = { revisions: 0, rowBytes: 0, bulkBytes: 0 }

  constructor(unitBytes: number) {
    this.#unitBytes = unitBytes
  }

  add({ ownBytes, unitLo, unitHi }: StoredRevision): void {
    const { revisions, rowBytes, bulkBytes } = this.sums
    this.sums = {
      revisions: revisions + 1,
      rowBytes: rowBytes + ownBytes,
      bulkBytes: bulkBytes + (unitHi - unitLo) * this.#unitBytes,
    }
  }
}
