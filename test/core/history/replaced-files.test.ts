/** Files that are replaced by new ones, as many programs save. */
import { expect, onTestFinished, test } from 'vitest'
import { open, type LogOptions } from '../../../index.ts'
import { temporaryDatabase } from '../../tools/temporary-database.ts'

test('a file that was replaced by a new one is changed, unless either is elsewhere too', async () => {
  const db = await open(temporaryDatabase(), { create: true })
  onTestFinished(() => db.close())
  const { files } = db
  await files.writeFile('/saved', 'one\ntwo\n')
  await files.writeFile('/big', Buffer.alloc(12_000, 'x'))
  for (const name of ['/linked', '/moved', '/typed']) await files.writeFile(name, 'old\n')
  await files.link('/linked', '/link')
  await files.mkdir('/d')
  await files.writeFile('/d/existing', 'existing\n')
  const before = await db.sync()
  const save = async (name: string, data: string | Buffer): Promise<void> => {
    await files.writeFile('/tmp', data)
    await files.rename('/tmp', name)
  }
  await save('/saved', 'one\nTWO\n')
  await save('/big', Buffer.alloc(9000, 'y'))
  await save('/linked', 'new\n')
  await files.rename('/moved', '/elsewhere')
  await files.writeFile('/moved', 'new\n')
  await files.unlink('/typed')
  await files.symlink('saved', '/typed')
  await files.rename('/d/existing', '/d/renamed')
  const after = await db.sync()
  const found = async (a: string, b: string, path = ''): Promise<readonly string[]> => {
    const lines: string[] = []
    for await (const { kind, path: at, from, ranges } of db.diff(a, b, { path }))
      lines.push(
        [kind, from, at, ...ranges.map(({ start, end }) => `${start}-${end}`)].filter(Boolean).join(' '),
      )
    return lines.sort()
  }
  expect(await found(before, after)).toEqual([
    'added linked',
    'added moved',
    'added typed',
    'changed big 0-12000',
    'changed saved 0-8',
    'removed linked',
    'removed typed',
    'renamed d/existing d/renamed',
    'renamed moved elsewhere',
  ])
  expect(await found(after, before, '/saved')).toEqual(['changed saved 0-8'])
  const patch: string[] = []
  for await (const line of db.patch(before, after, { path: '/saved' })) patch.push(line.toString())
  expect(patch).toEqual([
    'diff --git a/saved b/saved',
    '--- a/saved',
    '+++ b/saved',
    '@@ -1,2 +1,2 @@',
    ' one',
    '-two',
    '+TWO',
  ])
  // The same in a feed.
  for await (const { changes } of db.watch({ since: before, path: '/saved' })) {
    const kinds: string[] = []
    for await (const { kind } of changes()) kinds.push(kind)
    expect(kinds).toEqual(['changed'])
    break
  }
  await db.restore('/', before, { delete: true })
  // What is restored is another file with the same bytes and attributes.
  expect(await found(before, await db.sync())).toEqual([])
})

test('a log that names few files shows a replaced file as changed too, and counts it once', async () => {
  const db = await open(temporaryDatabase(), { create: true })
  onTestFinished(() => db.close())
  const names = ['a', 'b', 'c', 'd']
  for (const name of names) await db.files.writeFile(`/${name}`, 'old')
  await db.files.writeFile('/gone', '')
  await db.sync()
  for (const name of names) {
    await db.files.writeFile('/tmp', `new ${name}`)
    await db.files.rename('/tmp', `/${name}`)
  }
  await db.files.unlink('/gone')
  await db.files.writeFile('/more', 'x')
  await db.sync()
  const logged = async (
    options: LogOptions,
  ): Promise<{ readonly lines: string[]; readonly fileCount: number }> => {
    for await (const { changes, fileCount } of db.log({ limit: 1, ...options })) {
      const lines = changes.map(
        ({ kind, path, sizeBefore, sizeAfter }) => `${kind} ${path} ${sizeBefore} ${sizeAfter}`,
      )
      return { lines, fileCount }
    }
    throw new Error('nothing is logged')
  }
  const all = await logged({})
  expect(all).toEqual({
    lines: [
      ...names.map(name => `changed ${name} 3 5`),
      'removed gone 0 undefined',
      'added more undefined 1',
    ],
    fileCount: 6,
  })
  for (const count of [1, 2, 3, 5]) {
    const { lines } = await logged({ names: count })
    expect(lines.length).toBeGreaterThan(0)
    for (const line of lines) expect(all.lines).toContain(line)
  }
  expect(await logged({ path: '/b', names: 1 })).toEqual({ lines: ['changed b 3 5'], fileCount: 1 })
})
