import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, expect, test } from 'vitest'
import { databaseBytes, median, memoryMib, MIB } from '../../scripts/bench/measure.ts'
import { hottestFunctions } from '../../scripts/bench/cpu-profile.ts'

let directory = ''
beforeEach(() => {
  directory = mkdtempSync(join(tmpdir(), 'zblkfs-test-bench-'))
})
afterEach(() => rmSync(directory, { recursive: true }))

test('a database is its file and all files and directories that begin with its name, by blocks of the disk', () => {
  writeFileSync(join(directory, 'other'), Buffer.alloc(4 * MIB, 1))
  writeFileSync(join(directory, 'db'), Buffer.alloc(MIB, 1))
  writeFileSync(join(directory, 'db-wal'), Buffer.alloc(MIB, 1))
  mkdirSync(join(directory, 'db-log'))
  writeFileSync(join(directory, 'db-log', '1'), Buffer.alloc(MIB, 1))
  const bytes = databaseBytes(join(directory, 'db'))
  expect(bytes).toBeGreaterThanOrEqual(3 * MIB)
  expect(bytes).toBeLessThan(3.1 * MIB)
})

test("a process's memory is reported in MiB", () => {
  const mib = memoryMib(process.pid, 'VmRSS')
  expect(mib).toBeGreaterThan(10)
  expect(memoryMib(process.pid, 'VmHWM')).toBeGreaterThanOrEqual(mib - 1)
})

test('the median is a value that was measured', () => {
  expect(median([3, 1, 2])).toBe(2)
  expect(median([4, 1, 2, 3])).toBe(3)
  expect(median([])).toBeNaN()
})

test('the hottest functions are ranked by self time, without idle time', () => {
  const frame = (functionName: string) => ({ functionName, url: '', lineNumber: 0 })
  const profile = {
    nodes: ['(idle)', 'slow', 'fast'].map((name, id) => ({ id, callFrame: frame(name) })),
    samples: [0, 1, 2, 1],
    timeDeltas: [1000, 60, 20, 20],
  }
  expect(hottestFunctions(profile)).toEqual([' 80.0%  slow', ' 20.0%  fast'])
})
