import { execFile } from 'node:child_process'
import { join } from 'node:path'
import { promisify } from 'node:util'
import { expect, it } from 'vitest'
import { temporaryDirectory } from '../mount/zodb/foreign-paths.ts'
import { ZBLKFS } from '../tools/run-zblkfs.ts'
import { openPaths } from '../tools/temporary-database.ts'

it('a long listing ends silently when its reader closes the pipe', async () => {
  const path = join(temporaryDirectory(), 'db')
  const paths = await openPaths(path)
  for (let i = 0; i < 400; i++) {
    await paths.write('file', `${i}`)
    await paths.fs.sync()
  }
  await paths.fs.close()
  const command = `"$1" log "$2" | head -n 1`
  const { stdout, stderr } = await promisify(execFile)('sh', ['-c', command, 'sh', ZBLKFS, path])
  expect(stdout.split('\n')).toHaveLength(2)
  expect(stderr).toBe('')
})
