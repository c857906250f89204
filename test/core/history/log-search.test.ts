/** What the log says of each change, and how it finds files, messages and bytes. */
import { expect, onTestFinished, test } from 'vitest'
import { open, type Database, type LogOptions } from '../../../index.ts'
import { temporaryDatabase } from '../../tools/temporary-database.ts'

async function fresh(): Promise<Database> {
  const db = await open(temporaryDatabase(), { create: true, commitInterval: 1e9 })
  onTestFinished(() => db.close())
  return db
}

async function collected<T>(source: AsyncIterable<T>): Promise<readonly T[]> {
  const all: T[] = []
  for await (const each of source) all.push(each)
  return all
}

/** The changes of each transaction, newest first, as `M path before after`. */
async function logged(db: Database, options: LogOptions = {}): Promise<readonly string[]> {
  const all: string[] = []
  for await (const { changes } of db.log(options))
    all.push(
      changes
        .map(({ kind, path, from, sizeBefore = '-', sizeAfter = '-' }) =>
          [kind, ...(from === undefined ? [] : [from]), path, sizeBefore, sizeAfter].join(' '),
        )
        .join(', '),
    )
  return all
}

test('each change has its kind and sizes', async () => {
  const db = await fresh()
  await db.files.mkdir('/d')
  await db.files.writeFile('/d/a', 'one')
  const first = await db.sync()
  await db.files.appendFile('/d/a', 'two')
  await db.sync()
  await db.files.rename('/d/a', '/b')
  await db.sync()
  await db.files.link('/b', '/c')
  await db.sync()
  await db.files.unlink('/c')
  await db.files.unlink('/b')
  await db.files.rmdir('/d')
  await db.sync()
  const since = { since: first }
  expect(await logged(db, since)).toEqual([
    expect.stringMatching(/^removed (b|c) 6 -, removed d 0 -$/),
    // An inode with several names is shown by the last one that it was given.
    'changed c 6 6',
    'renamed d/a b 6 6',
    'changed d/a 3 6',
  ])
})

test('a rename over a file is a change of it, and its history includes the former file', async () => {
  const db = await fresh()
  await db.files.writeFile('/a', 'one')
  await db.sync()
  await db.files.writeFile('/a.new', 'three')
  await db.files.rename('/a.new', '/a')
  await db.sync()
  await db.files.rename('/a', '/a~')
  await db.files.writeFile('/a', 'seven')
  await db.sync()
  expect(await logged(db, { limit: 2 })).toEqual(['added a - 5, renamed a a~ 5 5', 'changed a 3 5'])
  expect((await collected(db.log({ limit: 2 }))).at(-1)?.fileCount).toBe(1)
  expect(await logged(db, { path: '/a' })).toEqual([
    'added a - 5, renamed a a~ 5 5',
    'changed a 3 5',
    'added a - 3',
  ])
})

test('a removed or renamed file is found by its former path, without a moment', async () => {
  const db = await fresh()
  await db.files.mkdir('/d')
  await db.files.writeFile('/d/gone', 'x')
  await db.sync()
  await db.files.unlink('/d/gone')
  await db.sync()
  await db.files.writeFile('/other', 'y')
  await db.sync()
  await db.files.rename('/other', '/moved')
  await db.sync()
  await db.files.rm('/d', { recursive: true })
  await db.sync()
  expect(await logged(db, { path: 'd/gone' })).toEqual(['removed d/gone 1 -', 'added d/gone - 1'])
  expect(await logged(db, { path: 'other' })).toEqual(['renamed other moved 1 1', 'added other - 1'])
  expect((await logged(db, { path: 'd' })).at(0)).toBe('removed d 0 -')
  await expect(logged(db, { path: 'never' })).rejects.toMatchObject({ code: 'no-path' })
  expect(await logged(db, { removed: true })).toEqual(['removed d 0 -', 'removed d/gone 1 -'])
  expect(await logged(db, { removed: true, pattern: 'g?ne' })).toEqual(['removed d/gone 1 -'])
})

test('patterns, messages and bytes select transactions and files', async () => {
  const db = await fresh()
  await db.files.mkdir('/src')
  await db.files.writeFile('/src/a.ts', 'const needle = 1\n')
  await db.files.writeFile('/readme', 'no needle here')
  await db.sync('the first')
  await db.files.writeFile('/src/a.ts', 'const  needle = 1\n')
  await db.sync('indent')
  await db.files.writeFile('/src/b.ts', Buffer.alloc(3_000_000))
  await db.sync()
  const big = await db.files.open('/src/b.ts', 'r+')
  // The bytes straddle a boundary of chunks, blocks and pieces.
  await big.write(Buffer.from('needle'), 0, 6, 2 * 1024 * 1024 - 3)
  await big.close()
  await db.sync('third')
  expect(await logged(db, { pattern: '*.ts', limit: 2 })).toEqual([
    'changed src/b.ts 3000000 3000000',
    'added src/b.ts - 3000000',
  ])
  expect(await logged(db, { pattern: 'src/**', contains: 'needle' })).toEqual([
    'changed src/b.ts 3000000 3000000',
    'added src/a.ts - 17',
  ])
  expect(
    await logged(db, { contains: 'needle', limit: 1, since: (await messages(db, /first/))[0]! }),
  ).toHaveLength(1)
  expect(await logged(db, { contains: 'absent' })).toEqual([])
  expect(await messages(db, /^(the|third)/)).toHaveLength(2)
})

async function messages(db: Database, grep: RegExp): Promise<string[]> {
  const tids: string[] = []
  for await (const { tid } of db.log({ grep })) tids.push(tid)
  return tids
}

test('a transaction records its writers and whether its message was given', async () => {
  const db = await fresh()
  await db.files.writeFile('/a', '1')
  await db.sync()
  await db.files.writeFile('/a', '2')
  await db.sync('second')
  const [second, first] = await collected(db.log({ limit: 2 }))
  expect([second!.hasMessage, first!.hasMessage]).toEqual([true, false])
  expect(second!.writers).toEqual([{ uid: process.getuid!(), pid: process.pid, program: expect.any(String) }])
  expect(second!.writers[0]!.program).not.toBe('')
})

test('a patch equals the output of git diff', async () => {
  const db = await fresh()
  await db.files.writeFile('/t', 'a\nb\nc\nd\ne\nf\ng\nh\ni\n')
  await db.files.writeFile('/bin', Buffer.from([1, 0, 2]))
  await db.files.symlink('t', '/l')
  const before = await db.sync()
  await db.files.writeFile('/t', 'a\nB\nc\nd\ne\nf\ng\nh\ni\nj')
  await db.files.writeFile('/bin', Buffer.from([1, 0, 3]))
  await db.files.writeFile('/new', 'x\n')
  await db.files.chmod('/t', 0o755)
  await db.files.unlink('/l')
  const after = await db.sync()
  const lines = async (source: AsyncIterable<Buffer>): Promise<string[]> =>
    (await collected(source)).map(String)
  const text = (await lines(db.patch(before, after))).join('\n')
  expect(text).toContain(`diff --git a/t b/t
old mode 100644
new mode 100755
--- a/t
+++ b/t
@@ -1,5 +1,5 @@
 a
-b
+B
 c
 d
 e
@@ -7,3 +7,4 @@
 g
 h
 i
+j
\\ No newline at end of file`)
  expect(text).toContain('diff --git a/bin b/bin\nBinary files a/bin and b/bin differ')
  expect(text).toContain('new file mode 100644\n--- /dev/null\n+++ b/new\n@@ -0,0 +1 @@\n+x')
  expect(text).toContain('deleted file mode 120777\n--- a/l\n+++ /dev/null\n@@ -1 +0,0 @@\n-t\n\\ No newline')
  const [last] = await collected(db.log({ limit: 1 }))
  expect((await lines(last!.patch())).toSorted()).toEqual((await lines(db.patch(before, after))).toSorted())
})
