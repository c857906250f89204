/** What a daemon gives back when it has become idle. */
import { readFileSync } from 'node:fs'
import { writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { expect, test, vi } from 'vitest'
import { pressureCheck, unchangedMappings } from '../../../mount/daemon/allocator.ts'
import { withMount } from '../../tools/mounted.ts'

/** Its memory of a kind, in MiB. */
function memoryMib(pid: number, kind: 'RssAnon' | 'RssFile'): number {
  const found = new RegExp(`^${kind}:\\s+(\\d+) kB$`, 'm').exec(readFileSync(`/proc/${pid}/status`, 'utf8'))
  return Number(found?.[1]) / 1024
}

test(
  'the memory of written data, and program pages that only the start needed',
  { timeout: 120_000 },
  async () => {
    await withMount({}, async mount => {
      const { dir } = mount
      const pid = mount.pid()
      const anonymous = memoryMib(pid, 'RssAnon')
      const file = memoryMib(pid, 'RssFile')
      for (let i = 0; i < 40; i++) await writeFile(join(dir, `file ${i % 4}`), Buffer.alloc(16 << 20, i))
      expect(memoryMib(pid, 'RssAnon') - anonymous).toBeGreaterThan(24)
      const isBack = (): void => {
        expect(memoryMib(pid, 'RssAnon') - anonymous).toBeLessThan(20)
        expect(memoryMib(pid, 'RssFile')).toBeLessThan(file - 10)
      }
      await vi.waitFor(isBack, { timeout: 90_000, interval: 500 })
    })
  },
)

test('mappings of the program that have a changed page, or may have one, are kept', () => {
  const mapping = (range: string, access: string, path: string, anonymousKb: number): string =>
    `${range} ${access} 00000000 08:01 1234   ${path}\nSize: 4 kB\nRss: 4 kB\nAnonymous:       ${anonymousKb} kB\nVmFlags: rd\n`
  const smaps = [
    mapping('400000-500000', 'r--p', '/bin/node', 0),
    mapping('500000-600000', 'r-xp', '/bin/node', 0),
    mapping('600000-700000', 'r--p', '/bin/node', 4),
    mapping('700000-800000', 'rw-p', '/bin/node', 0),
    mapping('7f0000000000-7f0000001000', 'r-xp', '/lib/libc.so.6', 0),
    mapping('7f0000002000-7f0000003000', 'r--s', '/bin/node', 0),
    '7f0000004000-7f0000005000 r--p 00000000 00:00 0 \nAnonymous:       0 kB\n',
  ].join('')
  expect(unchangedMappings(smaps, '/bin/node')).toEqual([
    [0x400000n, 0x500000n],
    [0x500000n, 0x600000n],
  ])
})

test('a daemon with much memory collects garbage as soon as it has more, and not again for what is in use', () => {
  let mib = 100
  const left: number[] = []
  const check = pressureCheck(
    () => mib * 2 ** 20,
    () => void left.push((mib -= 5)),
    () => 0,
  )
  for (const now of [100, 159, 160, 155, 162, 170, 170, 172, 173, 140, 159, 200, 195, 202, 203]) {
    mib = now
    check()
  }
  expect(left).toEqual([155, 165, 168, 195, 198])
})

test('what a daemon has collected in a peak of memory is collected in the next one too', () => {
  let mib = 300
  let count = 0
  const check = pressureCheck(
    () => mib * 2 ** 20,
    () => void count++,
    () => 0,
  )
  for (const now of [300, 120, 200]) {
    mib = now
    check()
  }
  expect(count).toBe(2)
})

test('collections of a daemon whose memory is in use take a tenth of its time at most', () => {
  let [mib, ms, spent] = [160, 0, 0]
  const check = pressureCheck(
    () => mib * 2 ** 20,
    () => {
      ms += 200
      spent += 200
    },
    () => ms,
  )
  for (; ms < 60_000; ms += 250) {
    mib += 10
    check()
  }
  expect(spent).toBeGreaterThan(4000)
  expect(spent).toBeLessThanOrEqual(6200)
})
