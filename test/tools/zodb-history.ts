/** A generated history of a ZODB database, as any FileStorage or RelStorage database can have it. */
import { oid, tid, type Oid } from '../../store/ids.ts'
import type { History } from '../store/history.ts'
import { HandFile } from './zodb-file.ts'

/** Some 40 transactions over 60 objects, which come, change, go and come back; the same each time. */
export function madeUpHistory(): History {
  const newest = new Map<Oid, Uint8Array | null>()
  return Array.from({ length: 40 }, (_, i) => {
    const records = new Map<Oid, Uint8Array | null>()
    for (let k = 0; k < (i * 7) % 12; k++) {
      const object = oid((i * 31 + k * k * 17) % 60)
      const gone = (i + k) % 9 === 0 && newest.get(object) != null
      const record = gone ? null : Buffer.from(`${i} ${k} `.repeat(1 + ((i * k * 97) % 4000)))
      records.set(object, record)
      newest.set(object, record)
    }
    return {
      tid: tid(0x040d_2f7d_0000_0000n + BigInt(i * i + i) * 1_000_003n),
      user: ['', 'ada', 'grüße', 'gr\udcfc\udcdfe'][i % 4]!,
      // Python 2 wrote texts of any bytes.
      description: `transaction ${i}${i % 5 === 0 ? ' \udcff' : ''}`,
      extension: Buffer.from('80037d71002e', 'hex').subarray(0, (i % 2) * 6),
      records,
    }
  })
}

/** The same as a FileStorage's bytes. */
export function fileStorageOf(history: History): Uint8Array {
  const file = new HandFile()
  for (const { records, ...transaction } of history)
    file.add({ ...transaction, records: [...records].map(([oid, data]) => ({ oid, data })) })
  return file.bytes
}
