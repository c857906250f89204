/**
 * An array of float64 that is larger than memory, edited in place: a change of one row stores the chunks of that row alone.
 *
 *     node examples/array.ts arrays.zblk
 */
import { open } from 'zblkfs'

const [path = 'arrays.zblk'] = process.argv.slice(2)
const ROWS = 10_000
const COLUMNS = 1000
const ROW_BYTES = COLUMNS * Float64Array.BYTES_PER_ELEMENT

const db = await open(path, { create: true })
try {
  const file = await db.files.open('/array.f64', 'w+')
  await file.truncate(ROWS * ROW_BYTES)
  const before = await db.sync('an array of zeros')

  const row = new Float64Array(COLUMNS)
  const bytes = new Uint8Array(row.buffer)
  await file.read(bytes, 0, ROW_BYTES, 1234 * ROW_BYTES)
  for (let i = 0; i < COLUMNS; i++) row[i] = i
  await file.write(bytes, 0, ROW_BYTES, 1234 * ROW_BYTES)
  await file.close()
  await db.sync('row 1234')

  for await (const { path, ranges } of db.diff(before, 'now'))
    for (const { start, end } of ranges) console.log(`${path}: bytes ${start} to ${end} changed`)
} finally {
  await db.close()
}
