/**
 * Commits 300 transactions to a FileStorage as ZODB does: written with status 'c', in pieces, and finished by one
 * byte. Every fifth is given up and cut off, and made again. Argument: the file, which has no transactions yet.
 */
import { ftruncateSync, openSync, writeSync } from 'node:fs'
import { setTimeout } from 'node:timers/promises'
import { HandFile } from '../../tools/zodb-file.ts'

const file = new HandFile()
const fd = openSync(process.argv[2]!, 'r+')
for (let tid = 1; tid <= 300; tid++) {
  const start = file.bytes.length
  const records = Array.from({ length: 20 }, (_, oid) => ({ oid, data: `at ${tid} `.repeat(1 + oid * 20) }))
  file.add({ tid: BigInt(tid), records })
  const bytes = Buffer.from(file.bytes.subarray(start))
  bytes.write('c', 16)
  for (let tries = tid % 5 === 0 ? 2 : 1; tries > 0; tries--) {
    for (let off = 0; off < bytes.length; off += 9000)
      writeSync(fd, bytes, off, Math.min(9000, bytes.length - off), start + off)
    if (tid % 10 === 0) await setTimeout(5)
    if (tries > 1) ftruncateSync(fd, start)
  }
  writeSync(fd, ' ', start + 16)
}
