/**
 * `node scripts/bench/codec.ts`: the cost of reading and writing records, compared with JSON of the same content in
 * the same run (for data, with a copy of it). Only ratios within one run are meaningful.
 */
import { Ref, Tuple } from '../../core/objects/pickle/value.ts'
import { decodeBucket } from '../../core/objects/record-bucket.ts'
import {
  decodeData,
  decodeRecord,
  encodeData,
  encodeRecord,
  references,
  ZDATA,
} from '../../core/objects/record.ts'
import { oid, TID_NONE } from '../../store/ids.ts'

const OID = oid(1)
const BUCKET = 'BTrees.IOBTree.IOBucket'
const ROUNDS = 7
const RUNS = 20_000

const entries = Array.from({ length: 30 }, (_, i) => ({ key: i * 4096, oid: 1000 + i, className: ZDATA }))
const flat = new Tuple(entries.flatMap(entry => [entry.key, new Ref(oid(entry.oid), entry.className)]))
const state = new Tuple([flat, new Ref(oid(7), BUCKET)])
const bucket = encodeRecord(BUCKET, state)
const json = Buffer.from(JSON.stringify(entries))
const chunk = Buffer.alloc(4096, 1)
const { head, body, tail } = encodeData(ZDATA, chunk)
const chunkRecord = Buffer.concat([head, body, tail])

/** The best of some rounds, in microseconds. */
function microseconds(run: () => unknown): number {
  let best = Number.POSITIVE_INFINITY
  for (let round = 0; round < ROUNDS; round++) {
    const start = process.hrtime.bigint()
    for (let i = 0; i < RUNS; i++) run()
    best = Math.min(best, Number(process.hrtime.bigint() - start) / 1000 / RUNS)
  }
  return best
}

function print(what: string, run: () => unknown, reference: string, runReference: () => unknown): void {
  const ours = microseconds(run)
  const theirs = microseconds(runReference)
  console.log(
    `${what.padEnd(44)}${ours.toFixed(2).padStart(7)} us   ` +
      `${reference.padEnd(14)}${theirs.toFixed(2).padStart(7)} us   ratio ${(ours / theirs).toFixed(2)}`,
  )
}

const parse = (): unknown => JSON.parse(json.toString())
print('decodeBucket, 30 entries', () => decodeBucket(bucket, OID, TID_NONE), 'JSON.parse', parse)
print('decodeRecord, a bucket of 30 entries', () => decodeRecord(bucket, OID, TID_NONE), 'JSON.parse', parse)
print('references, a bucket of 30 entries', () => references(bucket, OID, TID_NONE), 'JSON.parse', parse)
print(
  'encodeRecord, a bucket of 30 entries',
  () => encodeRecord(BUCKET, state),
  'JSON.stringify',
  () => Buffer.from(JSON.stringify(entries)),
)
print(
  'decodeData, a chunk of 4 KiB',
  () => decodeData(chunkRecord, OID, TID_NONE),
  'a copy of it',
  () => Buffer.from(chunk),
)
print(
  'encodeData, a chunk of 4 KiB',
  () => encodeData(ZDATA, chunk),
  'a copy of it',
  () => Buffer.from(chunk),
)
