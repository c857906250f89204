/**
 * Copies a SQLite database in a mount, as of one transaction of the mount, while programs continue to write it. A moment
 * has consistent states of the database, its journal and its WAL, so SQLite recovers from them as after a power cut.
 *
 *     node examples/sqlite-backup.ts files.zblk /app/main.sqlite3 backup/
 */
import { createWriteStream } from 'node:fs'
import { mkdir } from 'node:fs/promises'
import { basename, join } from 'node:path'
import { pipeline } from 'node:stream/promises'
import { open } from 'zblkfs'

const [path, source, target] = process.argv.slice(2)
if (path === undefined || source === undefined || target === undefined)
  throw new Error('usage: sqlite-backup.ts DATABASE PATH TARGET')

const db = await open(path)
try {
  const tid = await db.sync()
  const then = db.at(tid)
  await mkdir(target, { recursive: true })
  for (const suffix of ['', '-wal', '-journal']) {
    if (!(await then.exists(source + suffix))) continue
    const copy = join(target, basename(source) + suffix)
    await pipeline(then.createReadStream(source + suffix), createWriteStream(copy))
    console.log(`${source}${suffix} as of transaction ${tid}: ${copy}`)
  }
} finally {
  await db.close()
}
