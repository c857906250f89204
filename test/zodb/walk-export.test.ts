import { join } from 'node:path'
import { describe, expect, it } from 'vitest'
import { temporaryDirectory } from '../mount/zodb/foreign-paths.ts'
import { runZblkfs } from '../tools/run-zblkfs.ts'
import { Random } from '../stress/random.ts'
import { openPaths } from '../tools/temporary-database.ts'
import { DATABASES, sha256 } from './manifest.ts'
import { PYTHON, runPython } from './python.ts'

interface Walked {
  readonly files: Readonly<Record<string, readonly [size: number, sha256: string]>>
  readonly classes: Readonly<Record<string, number>>
}

async function walkExport(db: string): Promise<Walked> {
  const file = join(temporaryDirectory(), 'Data.fs')
  expect((await runZblkfs('export', db, file)).stderr).toBe('')
  return runPython(join(import.meta.dirname, 'walk-export.py'), [file]) as Walked
}

describe.skipIf(PYTHON === undefined)("Python's persistent and BTrees read an export", () => {
  it('of files written in every way, and read what the mount serves', async () => {
    const db = join(temporaryDirectory(), 'db')
    const paths = await openPaths(db, { zblkFormat: 'zblk1' })
    const random = new Random(7)
    await paths.mkdir('directory')
    await paths.mkdir('directory/below')
    for (let i = 0; i < 300; i++) await paths.write(`directory/below/file ${i}`, `text ${i}`)
    await paths.write('whole', Buffer.alloc(5_000_000, 'whole '))
    for (let i = 0; i < 400; i++) {
      const off = BigInt(random.below(9_000_000))
      await paths.write('pieces', Buffer.alloc(1 + random.below(9000), `piece ${i} `), off)
      if (i % 100 === 0) await paths.fs.sync()
    }
    await paths.truncate('whole', 4_321_000n)
    await paths.truncate('pieces', 40_000_000n)
    for (let i = 0; i < 300; i += 3) await paths.unlink(`directory/below/file ${i}`)
    await paths.fs.sync()
    const expected: Record<string, [number, string]> = {}
    for (const name of await paths.list('directory/below')) {
      const bytes = await paths.read(`directory/below/${name}`)
      expected[`/directory/below/${name}`] = [bytes.length, sha256(bytes)]
    }
    for (const name of ['whole', 'pieces']) {
      const bytes = await paths.read(name)
      expected[`/${name}`] = [bytes.length, sha256(bytes)]
    }
    await paths.fs.close()
    const { files, classes } = await walkExport(db)
    expect(Object.keys(files)).toHaveLength(202)
    expect(files).toEqual(expected)
    expect(classes['BTrees.IOBTree.IOBTree']).toBeGreaterThan(2)
    expect(classes['BTrees.OOBTree.OOBucket']).toBeGreaterThan(2)
  })

  it.each(DATABASES.filter(({ missing }) => !missing))(
    'of what was imported from $name',
    async ({ path, manifest }) => {
      const db = join(temporaryDirectory(), 'db')
      expect((await runZblkfs('import', path, db, '--history')).stderr).toBe('')
      const { files } = await walkExport(db)
      const states = Object.entries(manifest().txns.at(-1)!.files)
      expect(files).toEqual(
        Object.fromEntries(states.map(([name, { size, sha256 }]) => [`/${name}`, [size, sha256]])),
      )
    },
  )
})
