/** Counts revisions in and out of a mark memory: the units that they point to, and the references of their records. */
import type { Edge, Edges, StoredRevision } from '../../stored-revisions.ts'
import { CorruptRecordError } from '../../errors.ts'
import { oid as toOid, ROOT_OID, tid as toTid } from '../../ids.ts'
import type { MarkMemory } from './mark-memory.ts'
import type { PackSource } from './pack-source.ts'

/** Records read together. */
const BATCH_RECORDS = 64

type Sign = 1 | -1

export class MarkCounts {
  readonly #memory: MarkMemory
  readonly #reader: PackSource
  readonly #edges: Edges
  /** Called for an object that has lost a reference. */
  readonly #onLoss: (oid: number) => void

  constructor(
    memory: MarkMemory,
    reader: PackSource,
    edges: Edges,
    onLoss: (oid: number) => void = () => {},
  ) {
    this.#memory = memory
    this.#reader = reader
    this.#edges = edges
    this.#onLoss = onLoss
  }

  /** Counts units in (1) or out (-1). Units that no revision points to any more are dead. */
  units({ unitLo, unitHi }: StoredRevision, sign: Sign): void {
    const { units, dead } = this.#memory
    for (let unit = unitLo; unit < unitHi; unit++) {
      const left = units.add(unit, sign)
      if (left === 0) dead.add(unit)
      else if (left === 1 && sign === 1) dead.delete(unit)
    }
  }

  edge({ oid, isData, isWeak }: Edge, sign: Sign): void {
    const { strong, weak, data } = this.#memory
    if (isData) data.add(oid)
    const counters = isWeak ? weak : strong
    counters.add(oid, sign)
    if (sign === -1 && oid !== ROOT_OID) this.#onLoss(oid)
  }

  /** Counts the references of revisions, which are read for it, except those of data and tombstones. @throws CorruptRecordError */
  async references(
    revisions: readonly StoredRevision[],
    sign: Sign,
    onEdge?: (edge: Edge) => void,
  ): Promise<void> {
    const { data } = this.#memory
    const wanted = revisions.filter(({ oid, isTombstone }) => !isTombstone && !data.has(oid))
    for (let first = 0; first < wanted.length; first += BATCH_RECORDS) {
      const batch = wanted.slice(first, first + BATCH_RECORDS)
      const records = await this.#reader.records(batch)
      for (const [index, { oid, tid }] of batch.entries()) {
        const record = records[index]
        if (record instanceof CorruptRecordError) throw record
        if (record === undefined) continue
        for (const edge of this.#edges.of(record.bytes, toOid(oid), toTid(tid))) {
          this.edge(edge, sign)
          onEdge?.(edge)
        }
      }
    }
  }

  /** Whether references keep an object, as far as they are counted. */
  isReferenced(oid: number): boolean {
    return oid === ROOT_OID || this.#memory.strong.get(oid) > 0
  }
}
