/** fsx on the host's filesystem: it finds no error there, and detects errors that a test causes. */
import { copyFileSync, mkdtempSync, readdirSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, it } from 'vitest'
import { FsxFile } from './fsx-file.ts'
import { runFsx } from './run-fsx.ts'

describe('fsx', () => {
  let dir: string
  beforeAll(() => void (dir = mkdtempSync(join(tmpdir(), 'zblkfs-fsx-'))))
  afterAll(() => rmSync(dir, { recursive: true, force: true }))

  it('finds no fault in the filesystem of the host', async () => {
    const run = await runFsx(dir, { operations: 20_000, timeoutMs: 100_000 })
    expect(run.code, run.output).toBe(0)
    expect(readdirSync(dir)).toEqual([])
  })

  it('runs the same operations for the same seed', async () => {
    const runs = []
    for (let run = 0; run < 2; run++) {
      const fsx = new FsxFile(join(dir, `same-${run}`), 12_345)
      while (fsx.count < 500) await fsx.step()
      runs.push([...fsx.last])
      fsx.finish()
    }
    expect(runs[0]).toEqual(runs[1])
    expect(runs[0]).toHaveLength(25)
  })

  it('detects a byte changed by another writer, and reports the last operations', async () => {
    const path = join(dir, 'tampered')
    const fsx = new FsxFile(path, 7)
    while (fsx.count < 200) await fsx.step()
    writeFileSync(path, Buffer.alloc(100, 0xab), { flag: 'r+' })
    expect(() => fsx.finish()).toThrow(/operation 200: .* at 0 abababababababab was read(.|\n)*\n199: /)
  })

  it('requests remounts and moments of its harness', async () => {
    let remounts = 0
    let moments = 0
    const run = await runFsx(
      dir,
      { operations: 12_000, seed: 2, timeoutMs: 100_000 },
      {
        remount: async () => void remounts++,
        moment: async path => {
          const copy = join(dir, `moment-${moments++}`)
          copyFileSync(path, copy)
          return copy
        },
      },
    )
    expect(run.code, run.output).toBe(0)
    expect(remounts).toBeGreaterThan(0)
    expect(moments).toBeGreaterThan(3)
  })
})
