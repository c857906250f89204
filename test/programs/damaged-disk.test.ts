/** A disk that gives back other bytes than it was given: readers see EIO for these, and the log says what and what to do. */
import { createHash, randomBytes } from 'node:crypto'
import { open, readdir, readFile, stat, writeFile } from 'node:fs/promises'
import { dirname, join } from 'node:path'
import { expect, test } from 'vitest'
import { logPathFor } from '../../scripts/log-file.ts'
import { withMount } from '../tools/mounted.ts'
import { runZblkfs } from '../tools/run-zblkfs.ts'

const MIB = 1 << 20
const PAGE = 4096

interface LogLine {
  readonly level: number
  readonly msg: string
  readonly ino?: number
  readonly err?: { readonly message: string; readonly oid?: number; readonly advice?: string }
}

/** Changes one bit of the only place among a database's files that has these bytes. */
async function damage(database: string, bytes: Buffer): Promise<void> {
  const directory = dirname(database)
  let places = 0
  for (const entry of await readdir(directory, { recursive: true, withFileTypes: true })) {
    const path = join(entry.parentPath, entry.name)
    if (!entry.isFile() || !path.startsWith(database)) continue
    const at = (await readFile(path)).indexOf(bytes)
    if (at < 0) continue
    places++
    const file = await open(path, 'r+')
    await file.write(Buffer.of((bytes[0] ?? 0) ^ 1), 0, 1, at)
    await file.close()
  }
  expect(places).toBe(1)
}

async function readAt(path: string, off: number): Promise<Buffer | string> {
  const file = await open(path)
  try {
    const { bytesRead, buffer } = await file.read(Buffer.alloc(PAGE), 0, PAGE, off)
    return buffer.subarray(0, bytesRead)
  } catch (error) {
    return (error as NodeJS.ErrnoException).code ?? String(error)
  } finally {
    await file.close()
  }
}

test.each(['zblk0', 'zblk1'])(
  'a changed byte of a %s is EIO at its place only, and the log names the object and the remedy',
  async format => {
    await withMount({ options: [`zblk_format=${format}`] }, async mount => {
      const { dir, db } = mount
      const content = randomBytes(4 * MIB)
      const damagedAt = MIB + 123 * PAGE
      const path = join(dir, 'file')
      await writeFile(path, content)
      await writeFile(join(dir, 'other'), 'sound')
      await mount.unmount()
      await damage(db, content.subarray(damagedAt + 17, damagedAt + 49))
      await mount.remount()

      expect(await readAt(path, damagedAt)).toBe('EIO')
      expect(await readAt(path, damagedAt)).toBe('EIO')
      for (const off of [0, 3 * MIB])
        expect(await readAt(path, off)).toEqual(content.subarray(off, off + PAGE))
      await expect(readFile(path)).rejects.toThrow('EIO')
      expect(await readFile(join(dir, 'other'), 'utf8')).toBe('sound')
      await writeFile(join(dir, 'another'), 'made beside it')
      const { ino } = await stat(path)

      const lines = (await readFile(logPathFor(dir), 'utf8'))
        .split('\n')
        .filter(line => line !== '')
        .map(line => JSON.parse(line) as LogLine)
      const line = lines.find(({ err }) => err?.message.includes('is damaged'))
      expect(line).toMatchObject({ level: 50, ino })
      expect(line?.err?.message).toMatch(
        /^object [0-9a-f]{16} of transaction [0-9a-f]{16} is damaged \(.+\)$/,
      )
      expect(line?.err?.advice).toBe("run 'zblkfs fsck' on the database")

      const found = await runZblkfs('fsck', '--data', dir)
      expect(found.exitCode).toBe(4)
      const [, lo, hi] = /^\/file bytes \[(\d+), (\d+)\)/m.exec(found.stdout) ?? []
      expect(Number(lo)).toBeLessThanOrEqual(damagedAt)
      expect(Number(hi)).toBeGreaterThan(damagedAt)

      // What is damaged can be written anew.
      await writeFile(path, content)
      await mount.remount()
      expect(
        createHash('sha1')
          .update(await readFile(path))
          .digest('hex'),
      ).toBe(createHash('sha1').update(content).digest('hex'))
    })
  },
)
