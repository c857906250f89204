/** `zblkfs df` of an external ZODB database. */
import { copyFile, mkdtemp, rm, stat } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { expect, test } from 'vitest'
import { runZblkfs } from '../tools/run-zblkfs.ts'

const TINY = join(import.meta.dirname, '../fixtures/tiny.fs')

test('df of a FileStorage shows its records and transactions, and refuses options that need a zblkfs database', async () => {
  const scratch = await mkdtemp(join(tmpdir(), 'zblkfs-test-'))
  try {
    const path = join(scratch, 'tiny.fs')
    await copyFile(TINY, path)
    const { stdout } = await runZblkfs('df', '--json', path)
    const usage = JSON.parse(stdout) as Record<string, number | string>
    const { size } = await stat(path)
    const listed = (await runZblkfs('log', path)).stdout.match(/^[0-9a-f]{16} /gm) ?? []
    expect(usage).toMatchObject({
      database: path,
      fileBytes: size,
      transactions: listed.length,
      last: listed[0]?.trim(),
    })
    expect(Number(usage['recordBytes'])).toBeGreaterThan(0)
    expect(Number(usage['recordBytes'])).toBeLessThan(size)
    expect((await runZblkfs('df', path)).stdout).toMatch(
      /a ZODB database[^]*states in \d+ transactions, from/,
    )
    expect(await runZblkfs('df', '--files', path)).toMatchObject({ exitCode: 2 })
  } finally {
    await rm(scratch, { recursive: true })
  }
})
