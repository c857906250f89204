import { mkdtempSync, readdirSync, readFileSync, rmSync, statSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { expect, test } from 'vitest'
import { RotatingFile } from '../../scripts/rotating-file.ts'

test('a log of any length takes two files of bounded size, the newest lines in the first', () => {
  const directory = mkdtempSync(join(tmpdir(), 'zblkfs-log-'))
  try {
    const path = join(directory, 'log')
    const file = new RotatingFile(path)
    for (let i = 0; i < 30_000; i++) file.write(`${i} ${'x'.repeat(1000)}\n`)
    new RotatingFile(path).write('last\n')
    expect(readdirSync(directory).sort()).toEqual(['log', 'log.1'])
    for (const name of ['log', 'log.1']) expect(statSync(join(directory, name)).size).toBeLessThan(9 << 20)
    expect(readFileSync(path, 'utf8')).toMatch(/\n29999 x+\nlast\n$/)
  } finally {
    rmSync(directory, { recursive: true })
  }
})
