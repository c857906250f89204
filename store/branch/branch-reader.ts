/** Reads the revisions of a branch and of its base as those of one database. */
import type { CorruptRecordError } from '../errors.ts'
import type { Oid, Tid } from '../ids.ts'
import type { KeptMoments } from '../kept-moments.ts'
import type { RecordStart, RevisionReader, StoredRevision, StoredState } from '../stored-revisions.ts'

/** Batches of merged revisions have about this length. */
const BATCH = 256

interface Key {
  readonly oid: number
  readonly tid: bigint
}

export class BranchReader implements RevisionReader {
  readonly #own: RevisionReader
  readonly #parent: RevisionReader
  readonly #base: Tid

  /** @param parent reads the database of which it is a branch. The readers are closed with this one. */
  constructor(own: RevisionReader, parent: RevisionReader, base: Tid) {
    this.#own = own
    this.#parent = parent
    this.#base = base
  }

  get unitBytes(): number {
    return this.#own.unitBytes
  }

  async totals(): Promise<{ readonly lastTid: Tid; readonly nextOid: number }> {
    const [own, parent] = [await this.#own.totals(), await this.#parent.totals()]
    return { lastTid: own.lastTid, nextOid: Math.max(own.nextOid, parent.nextOid) }
  }

  /** A branch keeps everything since its base. */
  async kept(): Promise<KeptMoments> {
    const { from, earlier } = await this.#parent.kept()
    return from <= this.#base
      ? { from, earlier }
      : { from: this.#base, earlier: earlier.filter(moment => moment < this.#base) }
  }

  async *oids(): AsyncGenerator<readonly Oid[]> {
    const parent = this.#parentOids()
    yield* batches(merged(flat(this.#own.oids()), flat(parent), (a, b) => a - b, true))
  }

  async *revisions(oids: readonly number[], upTo: bigint): AsyncGenerator<readonly StoredRevision[]> {
    const parent = this.#parent.revisions(oids, this.#upToBase(upTo))
    const own = flat(this.#own.revisions(oids, upTo))
    yield* batches(merged(own, shared(flat(parent)), byOidNewestFirst))
  }

  async *states(lo: number, hi: number, upTo: bigint): AsyncGenerator<readonly StoredState[]> {
    const parent = this.#parent.states(lo, hi, this.#upToBase(upTo))
    yield* batches(merged(flat(this.#own.states(lo, hi, upTo)), flat(parent), byOidNewestFirst))
  }

  async exist(oids: readonly number[], at: Tid): Promise<readonly boolean[]> {
    const newest = new Map<number, boolean>()
    for await (const { oid, isTombstone } of flat(
      this.#own.revisions(
        oids.toSorted((a, b) => a - b),
        at,
      ),
    ))
      if (!newest.has(oid)) newest.set(oid, !isTombstone)
    const before = at < this.#base ? at : this.#base
    const parent = await this.#parent.exist(oids, before)
    return oids.map((oid, index) => newest.get(oid) ?? parent[index] ?? false)
  }

  async records(
    revisions: readonly Key[],
    limit?: number,
  ): Promise<readonly (RecordStart | CorruptRecordError | undefined)[]> {
    const isOwn = ({ tid }: Key): boolean => tid > this.#base
    const own = await this.#own.records(revisions.filter(isOwn), limit)
    const parent = await this.#parent.records(
      revisions.filter(key => !isOwn(key)),
      limit,
    )
    const [ownNext, parentNext] = [own.values(), parent.values()]
    return revisions.map(key => (isOwn(key) ? ownNext : parentNext).next().value)
  }

  close(): void {
    this.#own.close()
    this.#parent.close()
  }

  async *#parentOids(): AsyncGenerator<readonly Oid[]> {
    for await (const oids of this.#parent.oids()) {
      const areThere = await this.#parent.exist(oids, this.#base)
      yield oids.filter((_, index) => areThere[index] === true)
    }
  }

  #upToBase(upTo: bigint): bigint {
    return upTo < this.#base ? upTo : this.#base
  }
}

const byOidNewestFirst = (a: Key, b: Key): number => a.oid - b.oid || (a.tid > b.tid ? -1 : 1)

async function* flat<T>(batches: AsyncIterable<readonly T[]>): AsyncGenerator<T> {
  for await (const batch of batches) yield* batch
}

/** Revisions of the base take no space in the branch. */
async function* shared(revisions: AsyncIterable<StoredRevision>): AsyncGenerator<StoredRevision> {
  for await (const revision of revisions) yield { ...revision, ownBytes: 0, unitLo: 0, unitHi: 0 }
}

/** Two ascending sequences as one; of equal elements, the first sequence's alone if `isSet`. */
async function* merged<T>(
  first: AsyncGenerator<T>,
  second: AsyncGenerator<T>,
  compare: (a: T, b: T) => number,
  isSet = false,
): AsyncGenerator<T> {
  let [a, b] = [await first.next(), await second.next()]
  while (a.done !== true || b.done !== true) {
    const order = a.done === true ? 1 : b.done === true ? -1 : compare(a.value, b.value)
    if (order <= 0 && a.done !== true) {
      yield a.value
      a = await first.next()
      if (order === 0 && isSet) b = await second.next()
    } else if (b.done !== true) {
      yield b.value
      b = await second.next()
    }
  }
}

async function* batches<T>(elements: AsyncIterable<T>): AsyncGenerator<readonly T[]> {
  let batch: T[] = []
  for await (const element of elements) {
    batch.push(element)
    if (batch.length < BATCH) continue
    yield batch
    batch = []
  }
  if (batch.length > 0) yield batch
}
