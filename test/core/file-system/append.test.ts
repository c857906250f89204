/** Appends: each begins where the one before has ended, whatever the writers know of the file. */
import { constants } from 'node:fs'
import { expect, test } from 'vitest'
import type { Notifier } from '../../../core/file-system/operations.ts'
import type { OpenedFile, Paths } from '../../tools/paths.ts'
import { memoryPaths } from '../../tools/temporary-database.ts'

const { O_WRONLY, O_APPEND } = constants
const times = (count: number): readonly number[] => Array.from({ length: count }, (_, index) => index)

function recordingNotifier(): { readonly notifier: Notifier; readonly dropped: unknown[][] } {
  const dropped: unknown[][] = []
  const notifier: Notifier = {
    invalidateInode: (...range) => void dropped.push(range),
    invalidateEntry: () => undefined,
    invalidateNames: () => undefined,
    invalidateAttributes: async ino => void dropped.push([ino, 'attributes']),
    settled: async () => undefined,
  }
  return { notifier, dropped }
}

test('appends at the same time follow each other in the order of their arrival', async () => {
  const paths = await memoryPaths()
  const { ino, fh } = await paths.create('log', 0o644, O_WRONLY | O_APPEND)
  const other = await paths.open('log', O_WRONLY | O_APPEND)
  const { besideKernel } = paths.fs
  const ends = await Promise.all(
    times(40).map(round =>
      besideKernel.append(ino, round % 2 === 0 ? fh : other.fh, Buffer.from(`${round + 10}`)),
    ),
  )
  expect(ends).toEqual(times(40).map(round => BigInt(2 * round + 2)))
  expect((await paths.read('log')).toString()).toBe(
    times(40)
      .map(round => round + 10)
      .join(''),
  )
})

test.each([
  [
    'an append',
    async (paths: Paths, { ino, fh }: OpenedFile) =>
      void (await paths.fs.besideKernel.append(ino, fh, Buffer.from('beside'))),
  ],
  [
    'a write',
    async (paths: Paths, { ino, fh }: OpenedFile) =>
      void (await paths.fs.besideKernel.write(ino, fh, 6n, Buffer.from('beside'))),
  ],
])(
  'the kernel overwrites nothing after %s beside it, and drops what it has cached',
  async (_what, change) => {
    const paths = await memoryPaths()
    const { notifier, dropped } = recordingNotifier()
    paths.fs.attach(notifier)
    const file = await paths.create('log', 0o644, O_WRONLY | O_APPEND)
    const { ino, fh } = file
    const append = (text: string, known: bigint) =>
      paths.fs.append(ino, fh, Buffer.from(text), undefined, known)
    expect(await append('kernel', 0n)).toBe(6n)
    expect(dropped).toEqual([])
    await change(paths, file)
    dropped.length = 0
    expect(await append('kernel', 6n)).toBe(18n)
    expect(dropped).toEqual([
      [ino, 6n, 0n],
      [ino, 'attributes'],
    ])
    // It believes that its append ended at 12.
    expect(await append('again', 12n)).toBe(23n)
    expect((await paths.read('log')).toString()).toBe('kernelbesidekernelagain')
  },
)

test('an append after a file was made shorter beside the kernel leaves no hole', async () => {
  const paths = await memoryPaths()
  const { ino, fh } = await paths.create('log', 0o644, O_WRONLY | O_APPEND)
  await paths.fs.append(ino, fh, Buffer.from('kernel'), undefined, 0n)
  await paths.fs.besideKernel.setattr(ino, { size: 1n }, { uid: 0, gid: 0, pid: 1 })
  expect(await paths.fs.append(ino, fh, Buffer.from('ey'), undefined, 6n)).toBe(3n)
  expect((await paths.read('log')).toString()).toBe('key')
})

test('parts of an append of the kernel keep their places in a file that it alone has changed', async () => {
  const paths = await memoryPaths()
  const { ino, fh } = await paths.create('log', 0o644, O_WRONLY | O_APPEND)
  await paths.fs.append(ino, fh, Buffer.from('second'), undefined, 5n)
  await paths.fs.append(ino, fh, Buffer.from('first'), undefined, 0n)
  expect((await paths.read('log')).toString()).toBe('firstsecond')
})
