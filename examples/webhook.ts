/**
 * Posts each transaction's changes to a URL. The last delivered transaction is kept in a file, from which a restart
 * continues.
 *
 *     node examples/webhook.ts files.zblk http://127.0.0.1:8080/changed last-tid
 */
import { readFile, writeFile } from 'node:fs/promises'
import { open } from 'zblkfs'

const [path, url, stateFile] = process.argv.slice(2)
if (path === undefined || url === undefined || stateFile === undefined)
  throw new Error('usage: webhook.ts DATABASE URL STATE-FILE')

const ended = new AbortController()
process.once('SIGTERM', () => ended.abort())
process.once('SIGINT', () => ended.abort())

const since = await readFile(stateFile, 'utf8').catch(() => undefined)
const db = await open(path, { readOnly: true })
try {
  const options = { signal: ended.signal, ...(since !== undefined && { since: since.trim() }) }
  for await (const { tid, message, changes } of db.watch(options)) {
    const files: { kind: string; path: string }[] = []
    for await (const change of changes()) files.push({ kind: change.kind, path: change.path })
    const response = await fetch(url, {
      method: 'POST',
      headers: { 'content-type': 'application/json' },
      body: JSON.stringify({ tid, message, files }),
    })
    if (!response.ok) throw new Error(`${url} answered ${response.status}`)
    await writeFile(stateFile, tid)
  }
} finally {
  await db.close()
}
