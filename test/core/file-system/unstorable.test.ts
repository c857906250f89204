/** Objects that cannot be stored, or files that cannot be written, in a database from elsewhere: others are not affected. */
import { expect, test } from 'vitest'
import { BigFile } from '../../../core/big-file/big-file.ts'
import { FileSystem } from '../../../core/file-system/file-system.ts'
import { Connection } from '../../../core/objects/connection.ts'
import type { LeftOut } from '../../../core/objects/participant.ts'
import { PersistentMapping } from '../../../core/objects/persistent-mapping.ts'
import { Ref, type PickleValue } from '../../../core/objects/pickle/value.ts'
import { encodeData, encodeRecord, ZBLK0 } from '../../../core/objects/record.ts'
import { Inode } from '../../../core/tree/inode.ts'
import { oid, TID_NONE } from '../../../store/ids.ts'
import { TestStore } from '../../tools/test-store.ts'
import { codeOf, Paths } from '../../tools/paths.ts'

const OPTIONS = { cacheSizeBytes: 4 << 20 }
const NEWTRUE = 0x88

async function twoFiles(): Promise<{ store: TestStore; ino: bigint }> {
  const store = new TestStore()
  const paths = new Paths(await FileSystem.open(store))
  await paths.write('a', Buffer.from('first'))
  await paths.write('b', Buffer.from('second'))
  const { ino } = await paths.stat('a')
  await paths.fs.close()
  return { store: store.found(), ino: BigInt(ino) }
}

/** What may stand in the place of NEWTRUE. */
const STRANGE: Record<string, Buffer> = {
  'an int of 300 bytes': Buffer.concat([Buffer.of(0x8b, 0x2c, 1, 0, 0), Buffer.alloc(300, 1)]),
  'an object of an unknown class': Buffer.from('cdatetime\ndate\n)R', 'latin1'),
}

for (const [name, bytes] of Object.entries(STRANGE))
  test(`an inode with ${name} is damaged, and does not prevent other commits`, async () => {
    const { store, ino } = await twoFiles()
    const connection = await Connection.open(store, OPTIONS)
    const inode = connection.get(oid(ino), PersistentMapping.CLASS_NAME) as PersistentMapping
    await inode.activate()
    const state = new Map<PickleValue, PickleValue>([...inode.entries(), ['strange', true]])
    const record = encodeRecord(PersistentMapping.CLASS_NAME, new Map([['data', state]]))
    const at = record.indexOf(NEWTRUE)
    store.damage(inode.oid, Buffer.concat([record.subarray(0, at), bytes, record.subarray(at + 1)]))

    const paths = new Paths(await FileSystem.open(store))
    expect(await codeOf(paths.at('a', ino => paths.fs.setattr(ino, { mode: 0o600 })))).toBe(
      'CorruptRecordError',
    )
    expect(await codeOf(paths.read('a'))).toBe('CorruptRecordError')
    await paths.write('b', Buffer.from('third!'))
    await paths.fs.close()
    const again = new Paths(await FileSystem.open(store.found()))
    expect(Buffer.from(await again.read('b')).toString()).toBe('third!')
  })

test('a file with blocks shorter than a chunk is readable, and refuses changes at any offset', async () => {
  const { store, ino } = await twoFiles()
  const connection = await Connection.open(store, OPTIONS)
  const file = await BigFile.create(connection, 512)
  const { head, body, tail } = encodeData(ZBLK0, Buffer.alloc(512, 7))
  const block = await connection.newOids(1)
  await file.file.blktab.set(1, new Ref(block, ZBLK0))
  const inode = Inode.at(connection, oid(ino))
  await inode.activate()
  inode.data = file.file.ref
  inode.size = 2000n
  await connection.prepare()
  connection.putRecord(block, ZBLK0, { head, body: [body], tail }, TID_NONE)
  await connection.commit()

  const paths = new Paths(await FileSystem.open(store))
  const bytes = Buffer.from(await paths.read('a'))
  expect([bytes.length, bytes[511], bytes[512], bytes[1023], bytes[1024]]).toEqual([2000, 0, 7, 7, 0])
  for (const off of [0n, 1n << 62n])
    expect(await codeOf(paths.write('a', Buffer.alloc(1000), off))).toBe('ReadOnlyError')
  expect(await codeOf(paths.truncate('a', 10n))).toBe('ReadOnlyError')
  await paths.write('b', Buffer.from('third!'))
  await paths.fs.close()
})

test('a change that fits into no record fails at once', async () => {
  const connection = await Connection.open(new TestStore(), OPTIONS)
  const mapping = await connection.create(PersistentMapping)
  expect(() => mapping.set('big', 1n << 5000n)).toThrow(TypeError)
  expect(() => mapping.set('half', 0.5)).toThrow(TypeError)
})

test('an object that cannot be serialised is left out of the commit and reported', async () => {
  const store = new TestStore()
  const leftOut: LeftOut[] = []
  const connection = await Connection.open(store, { ...OPTIONS, onLeftOut: object => leftOut.push(object) })
  const [bad, good] = [await connection.create(PersistentMapping), await connection.create(PersistentMapping)]
  const values: PickleValue[] = []
  bad.set('values', values)
  values.push(1n << 5000n)
  good.set('value', 1)
  await connection.prepare()
  const tid = await connection.commit()
  expect(leftOut).toMatchObject([{ oid: bad.oid, className: PersistentMapping.CLASS_NAME }])
  expect((await store.load([bad.oid, good.oid], tid)).map(revision => revision?.tid)).toEqual([
    undefined,
    tid,
  ])
  expect(connection.hasPending).toBe(false)
})
