/** Opens a database in a process of its own: `opening-child.ts PATH [read | commit] [as UID]`; prints `opened`, or why not, and ends with its input. */
import { once } from 'node:events'
import { TID_NONE } from '../../../store/ids.ts'
import { openSqliteStore } from '../../../store/sqlite/open/open-sqlite-store.ts'

const [path = '', ...words] = process.argv.slice(2)
const uid = Number(words.at(words.indexOf('as') + 1))
if (words.includes('as')) {
  process.setgid?.(uid)
  process.setuid?.(uid)
}
try {
  const store = words.includes('read')
    ? await openSqliteStore(path, { readOnly: true })
    : await openSqliteStore(path, { create: true, purpose: 'a child' })
  if (words.includes('commit') && !store.readOnly) {
    const { first } = await store.allocateOids(1)
    const record = { head: Uint8Array.of(1) }
    await store.commit({ changes: [{ oid: first, base: TID_NONE, record }] })
  }
  console.log(`opened, last transaction ${await store.lastTid()}`)
  process.stdin.resume()
  await once(process.stdin, 'end')
  await store.close()
} catch (error) {
  console.log(String(error))
}
process.exit()
