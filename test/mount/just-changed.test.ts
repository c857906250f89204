/** How a mount reads files that another mount of the same database has changed. */
import { readFile, stat, writeFile } from 'node:fs/promises'
import { release } from 'node:os'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { expect, test } from 'vitest'
import { withMount } from '../tools/mounted.ts'
import { makePostgresDatabase } from '../tools/postgres-server.ts'
import { runProgram } from '../tools/run-zblkfs.ts'

const BYTES = 64 << 10
/** Longer than a change counts as new. */
const OLD_MS = 1500
/** Reads a file through a shared mapping. */
const MAPPED = `
import mmap, os, sys
file = os.open(sys.argv[1], os.O_RDONLY)
print(len(bytes(mmap.mmap(file, 0, mmap.MAP_SHARED, mmap.PROT_READ)).strip(b'b')))`

/** Bytes of a file in the kernel's cache. */
async function cachedBytes(path: string): Promise<number> {
  const { stdout } = await runProgram('fincore', ['--bytes', '--noheadings', '--output', 'RES', path])
  return Number(stdout)
}

function isLinux(major: number, minor: number): boolean {
  const [foundMajor = 0, foundMinor = 0] = release().split('.').map(Number)
  return foundMajor > major || (foundMajor === major && foundMinor >= minor)
}

test('the kernel keeps no pages of a file that another mount just changed, and keeps those of others', async () => {
  const database = await makePostgresDatabase()
  try {
    await withMount({ driver: 'kernel', db: database.url }, async one => {
      await withMount({ driver: 'kernel', db: database.url }, async two => {
        const path = join(two.dir, 'file')
        await writeFile(join(one.dir, 'file'), Buffer.alloc(BYTES, 'a'))
        expect((await stat(path)).size).toBe(BYTES)
        await writeFile(join(one.dir, 'file'), Buffer.alloc(2 * BYTES, 'b'))
        expect((await readFile(path, 'latin1')).replaceAll('b', '')).toBe('')
        if (isLinux(6, 16)) expect(await cachedBytes(path)).toBe(0)
        expect(await runProgram('python3', ['-c', MAPPED, path])).toMatchObject({
          exitCode: 0,
          stdout: '0\n',
        })
        await sleep(OLD_MS)
        expect(await readFile(path)).toHaveLength(2 * BYTES)
        expect(await cachedBytes(path)).toBe(2 * BYTES)
      })
    })
  } finally {
    await database.remove()
  }
})
