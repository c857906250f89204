/** Compression as a person sets and sees it. */
import { readFileSync, writeFileSync } from 'node:fs'
import { expect, test } from 'vitest'
import { open } from '../../index.ts'
import type { CompressionName } from '../../store/compression.ts'
import { segmentPath } from '../../store/segment-files/log-layout.ts'
import { runZblkfs, zblkfsOutput } from '../tools/run-zblkfs.ts'
import { temporaryDatabase } from '../tools/temporary-database.ts'

const MIB = 1 << 20

/** Lines that shrink to about a third. */
const text = (seed: number): Buffer =>
  Buffer.from(
    Array.from({ length: 70_000 }, (_, i) => `line ${i}: ${Math.imul(i + seed, 2_654_435_761) >>> 8}\n`).join(
      '',
    ),
  )

async function write(path: string, name: string, seed: number, compression?: CompressionName): Promise<void> {
  const db = await open(path, { create: true, ...(compression !== undefined && { compression }) })
  await db.files.writeFile(name, text(seed))
  await db.close()
}

interface Usage {
  readonly fileBytes: number
  readonly liveBytes: number
  readonly compression: string
  readonly compressed?: { readonly bytes: number; readonly storedBytes: number }
}

const usage = async (path: string): Promise<Usage> =>
  JSON.parse(await zblkfsOutput('df', '--json', path)) as Usage

test('the setting persists and applies to new data, df shows the ratio, and all data stays readable', async () => {
  const path = temporaryDatabase()
  await write(path, 'before', 1)
  expect(await usage(path)).toMatchObject({ compression: 'off' })
  expect(await usage(path)).not.toHaveProperty('compressed')
  const plain = (await usage(path)).fileBytes
  await write(path, 'first', 2, 'zstd')
  await write(path, 'second', 3)
  const found = await usage(path)
  const { bytes, storedBytes } = found.compressed ?? { bytes: 0, storedBytes: 0 }
  expect(found.compression).toBe('zstd')
  expect(bytes).toBeGreaterThan(2 * MIB)
  expect(storedBytes).toBeLessThan(bytes * 0.75)
  expect(found.fileBytes).toBeLessThan(plain * 3)
  expect(found.liveBytes).toBeLessThan(found.fileBytes)
  expect(await zblkfsOutput('df', path)).toMatch(
    /^compressed \d\.\d\d to 1: .* of data in .*; new data: zstd$/m,
  )
  await write(path, 'third', 4, 'off')
  expect((await usage(path)).compressed?.bytes).toBe(bytes)
  expect(await zblkfsOutput('df', path)).toContain('; new data is not compressed')
  const db = await open(path, { readOnly: true })
  for (const [name, seed] of Object.entries({ before: 1, first: 2, second: 3, third: 4 }))
    expect(Buffer.compare(await db.files.readFile(name), text(seed))).toBe(0)
  await db.close()
  expect(await runZblkfs('fsck', '--data', path)).toMatchObject({ exitCode: 0 })
}, 60_000)

test('a copy is compressed like its source, or as requested', async () => {
  const path = temporaryDatabase()
  const [same, other] = [temporaryDatabase(), temporaryDatabase()]
  await write(path, 'file', 1, 'zstd-3')
  await zblkfsOutput('copy', path, same)
  expect((await usage(same)).compression).toBe('zstd-3')
  await zblkfsOutput('copy', '--compression', 'off', path, other)
  expect((await usage(other)).compression).toBe('off')
  expect((await usage(same)).fileBytes).toBeLessThan((await usage(other)).fileBytes)
  expect(await runZblkfs('copy', '--compression', 'lz5', path, `${other}2`)).toMatchObject({ exitCode: 2 })
}, 60_000)

test('a changed byte of a compressed file is a read error, and fsck names the file', async () => {
  const path = temporaryDatabase()
  await write(path, 'file', 1, 'zstd')
  const segment = segmentPath(`${path}-log`, 0)
  const content = readFileSync(segment)
  content[content.length - 20_000] = (content[content.length - 20_000] ?? 0) ^ 1
  writeFileSync(segment, content)
  const db = await open(path, { readOnly: true })
  await expect(db.files.readFile('file')).rejects.toMatchObject({ code: 'corrupt-record' })
  await db.close()
  const found = await runZblkfs('fsck', '--data', path)
  expect(found.exitCode).toBe(4)
  expect(found.stdout).toMatch(/^\/file bytes \[\d+, \d+\): .*checksum/m)
}, 60_000)
