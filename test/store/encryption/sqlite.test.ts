/** An encrypted SQLite database: what is on the disk, and which changes with valid checksums are detected. */
import { readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import Database from 'better-sqlite3'
import { describe, expect, test } from 'vitest'
import { checkDatabase } from '../../../core/check/check-database.ts'
import type { Damage } from '../../../core/check/damage.ts'
import { FileSystem } from '../../../core/file-system/file-system.ts'
import { open } from '../../../index.ts'
import { historyOf } from '../../../mount/daemon/history-calls.ts'
import { xxh64 } from '../../../store/checksum.ts'
import type { CompressionName } from '../../../store/compression.ts'
import { setKeySource } from '../../../store/database-key.ts'
import type { Secret } from '../../../store/encryption.ts'
import { CorruptRecordError } from '../../../store/errors.ts'
import { TID_MAX, TID_NONE, type Oid } from '../../../store/ids.ts'
import { rowSum } from '../../../store/indexed/row-sums.ts'
import { openSqliteStore } from '../../../store/sqlite/open/open-sqlite-store.ts'
import { copyDatabase } from '../../tools/database-files.ts'
import { Paths } from '../../tools/paths.ts'
import { temporaryDatabase } from '../../tools/temporary-database.ts'

const BODY = 40_000
const TABLE = 4096
const HEADER = 24
const key = async (): Promise<Secret> => ({ kind: 'file', bytes: Buffer.alloc(32, 'key') })
const opened = { create: true, encryption: 'aes-256-gcm', key } as const

/** Commits an object with a body in the log. */
async function commit(path: string, text: string, compression: CompressionName = 'off'): Promise<Oid> {
  const store = await openSqliteStore(path, { ...opened, compression })
  const oid = (await store.allocateOids(1)).first
  const record = { head: Buffer.from(`head ${text}`), body: [Buffer.alloc(BODY, text)] }
  await store.commit({ changes: [{ oid, base: TID_NONE, record }], description: `described ${text}` })
  await store.close()
  return oid
}

async function load(path: string, oid: Oid): Promise<string> {
  const store = await openSqliteStore(path, { readOnly: true, key })
  try {
    const [found] = await store.load([oid], TID_MAX)
    return Buffer.from(found?.record ?? []).toString()
  } finally {
    await store.close()
  }
}

async function damagesOf(path: string, source?: typeof key): Promise<readonly Damage[]> {
  const damages: Damage[] = []
  setKeySource(source)
  try {
    const report = (damage: Damage): void => void damages.push(damage)
    await checkDatabase(path, { data: true, repair: false, report, progress: () => undefined })
  } finally {
    setKeySource(undefined)
  }
  return damages
}

/** The stored frames of the first segment. */
class Frames {
  readonly #path: string
  readonly bytes: Buffer

  constructor(database: string) {
    this.#path = `${database}-log/00000000`
    this.bytes = readFileSync(this.#path)
  }

  at(number: number): Buffer {
    const entry = TABLE + 8 * number
    const offset = this.bytes.readUInt32LE(entry)
    return this.bytes.subarray(offset, offset + this.bytes.readUInt16LE(entry + 4))
  }

  /** Changes a frame, makes its position and its checksum right, and writes the segment. */
  forge(number: number, change: (frame: Buffer) => void): void {
    const frame = this.at(number)
    const pos = frame.readBigUInt64LE(8)
    change(frame)
    frame.writeBigUInt64LE(pos, 8)
    frame.writeBigUInt64LE(xxh64(frame.subarray(8)))
    writeFileSync(this.#path, this.bytes)
  }
}

/** Every name and all content, as a text. */
async function contentOf(path: string): Promise<string> {
  await using db = await open(path, { readOnly: true, key })
  const found: string[] = []
  for (const directory of ['/', '/d/'])
    for (const name of (await db.files.readdir(directory)).sort()) {
      const isFile = (await db.files.lstat(directory + name)).isFile()
      found.push(
        directory + name,
        isFile ? (await db.files.readFile(directory + name)).toString('latin1') : '',
      )
    }
  return found.join('\n')
}

/** Every file of a database. */
const filesOf = (path: string): readonly string[] => [
  ...['', '-wal', '-shm', '-lock'].map(suffix => path + suffix).filter(file => readable(file)),
  ...readdirSync(`${path}-log`).map(name => join(`${path}-log`, name)),
]

const readable = (file: string): boolean => {
  try {
    readFileSync(file)
    return true
  } catch {
    return false
  }
}

/** The texts that any file of a database has. */
function legible(path: string, texts: readonly string[]): readonly string[] {
  const files = filesOf(path).map(file => readFileSync(file))
  return texts.filter(text => files.some(bytes => bytes.includes(text)))
}

describe.each(['off', 'zstd'] as const)('what is on the disk, compression %s', compression => {
  const TEXTS = ['NAME', 'TARGET', 'XATTR', 'VALUE', 'SMALL', 'LARGE', 'SYNCED', 'MESSAGE', 'LABEL']

  async function write(path: string, encryption: 'off' | 'aes-256-gcm'): Promise<readonly string[]> {
    const store = await openSqliteStore(path, { create: true, encryption, key, compression })
    const fs = await FileSystem.open(store, { commitIntervalMs: 1e9 })
    const paths = new Paths(fs)
    await paths.mkdir('a NAME')
    await paths.symlink('a TARGET', 'link')
    await paths.at('a NAME', async ino => await fs.setxattr(ino, 'user.XATTR', Buffer.from('VALUE'), 0))
    await paths.write('small', 'SMALL content')
    // Zstandard would hide a repeated text.
    const noise = Buffer.from(Array.from({ length: 300_000 }, (_, i) => (i * i * 7 + (i >> 3)) & 0xff))
    await paths.write('large', Buffer.concat([Buffer.from('LARGE content'), noise]))
    await fs.sync('a MESSAGE')
    await historyOf(fs).tag('LABEL')
    await fs.sync()
    await paths.write('small', 'SYNCED content')
    await fs.fsync()
    const found = legible(path, TEXTS)
    await fs.close()
    return [...new Set([...found, ...legible(path, TEXTS)])]
  }

  test('no file has a name, an attribute, a message or content', async () => {
    expect(await write(temporaryDatabase(), 'aes-256-gcm')).toEqual([])
    const plain = await write(temporaryDatabase(), 'off')
    expect(plain).toEqual(
      expect.arrayContaining(['NAME', 'TARGET', 'XATTR', 'VALUE', 'SMALL', 'LARGE', 'SYNCED', 'LABEL']),
    )
  })
})

describe.each(['off', 'zstd'] as const)('changes with right checksums, compression %s', compression => {
  let path = ''
  let oids: readonly Oid[] = []

  async function setUp(): Promise<void> {
    path = temporaryDatabase()
    oids = [await commit(path, 'first', compression), await commit(path, 'other', compression)]
    for (const [number, text] of ['first', 'other'].entries())
      expect(await load(path, oids[number]!)).toContain(text)
  }

  async function expectDamaged(oid: Oid): Promise<void> {
    await expect(load(path, oid)).rejects.toThrow(CorruptRecordError)
    const found = await damagesOf(path, key)
    expect(found.some(damage => damage.oid === oid)).toBe(true)
  }

  test('a flipped byte of a frame', async () => {
    await setUp()
    for (const at of [HEADER, HEADER + 12, -1]) {
      const frames = new Frames(path)
      const flip = (frame: Buffer): void => void (frame[at < 0 ? frame.length + at : at]! ^= 1)
      frames.forge(0, flip)
      await expectDamaged(oids[0]!)
      frames.forge(0, flip)
      expect(await load(path, oids[0]!)).toContain('first')
    }
  })

  test('a frame at the place of another one', async () => {
    await setUp()
    const frames = new Frames(path)
    const first = Buffer.from(frames.at(0))
    expect(frames.at(1).length).toBe(first.length)
    frames.forge(1, frame => frame.set(first))
    await expectDamaged(oids[0]!)
  })

  test('a frame of another database', async () => {
    await setUp()
    const other = temporaryDatabase()
    await commit(other, 'first', compression)
    const [source, target] = [new Frames(other), new Frames(path)]
    target.forge(0, frame => frame.set(source.at(0)))
    await expectDamaged(oids[0]!)
  })

  test('a frame that is not encrypted', async () => {
    await setUp()
    const other = temporaryDatabase()
    const store = await openSqliteStore(other, { create: true, compression: 'zstd' })
    const oid = (await store.allocateOids(1)).first
    const record = { head: Buffer.from('head'), body: [Buffer.alloc(BODY, 'forged')] }
    await store.commit({ changes: [{ oid, base: TID_NONE, record }] })
    await store.close()
    const [source, target] = [new Frames(other), new Frames(path)]
    target.forge(0, frame => frame.set(source.at(0).subarray(0, frame.length)))
    await expectDamaged(oids[0]!)
  })

  test('an older frame, of a copy that went another way, with and without its epoch', async () => {
    await setUp()
    const copy = temporaryDatabase()
    await copyDatabase(path, copy)
    const oid = await commit(path, 'third', compression)
    await commit(copy, 'older', compression)
    const number = 6
    const [source, target] = [new Frames(copy), new Frames(path)]
    expect(source.at(number).length).toBe(target.at(number).length)
    target.forge(number, frame => frame.set(source.at(number)))
    await expect(load(path, oid)).rejects.toThrow(CorruptRecordError)
    const last = "SELECT name, value FROM meta WHERE name LIKE 'epoch %' ORDER BY name DESC LIMIT 1"
    const from = new Database(copy)
    const epoch = from.prepare<[], { name: string; value: string }>(last).get()!
    from.close()
    const into = new Database(path)
    expect(
      into.prepare('UPDATE meta SET value = ? WHERE name = ?').run(epoch.value, epoch.name).changes,
    ).toBe(1)
    into.close()
    await expectDamaged(oid)
  })

  test('a row at the place of another one, and a flipped byte of a row', async () => {
    await setUp()
    const db = new Database(path)
    const row = db.prepare<[number]>('SELECT * FROM revision WHERE oid = ?').safeIntegers()
    type Row = { tid: bigint; head: Buffer; pos: bigint; len: bigint }
    const put = db.prepare('UPDATE revision SET head = ?, sum = ? WHERE oid = ?')
    const [first, other] = oids.map(oid => row.get(oid) as Row)
    const forge = (head: Buffer): void => {
      const sum = rowSum(oids[0]!, first!.tid, head, Number(first!.pos), Number(first!.len), null)
      put.run(head, sum, oids[0]!)
    }
    forge(other!.head)
    await expectDamaged(oids[0]!)
    const flipped = Buffer.from(first!.head)
    flipped[14]! ^= 1
    forge(flipped)
    await expectDamaged(oids[0]!)
    forge(first!.head)
    expect(await load(path, oids[0]!)).toContain('first')
    db.close()
  })

  test('without the key, a check finds wrong checksums, but not what was forged', async () => {
    await setUp()
    expect(await damagesOf(path)).toEqual([])
    const frames = new Frames(path)
    frames.forge(0, frame => void (frame[HEADER + 20]! ^= 1))
    expect(await damagesOf(path)).toEqual([])
    const segment = `${path}-log/00000000`
    frames.at(0)[HEADER + 20]! ^= 1
    writeFileSync(segment, frames.bytes)
    expect((await damagesOf(path)).map(({ oid }) => oid)).toEqual([oids[0]])
  })
})

test('each opening and each discarded transaction begins an epoch with another salt', async () => {
  const path = temporaryDatabase()
  await commit(path, 'first')
  await commit(path, 'other')
  const store = await openSqliteStore(path, { key })
  const oid = (await store.allocateOids(1)).first
  const record = { head: Buffer.from('head'), body: [Buffer.alloc(BODY, 'x')] }
  await store.capabilities.spilling?.spill([{ oid, base: TID_NONE, record }])
  await store.capabilities.spilling?.drop()
  const again = { head: Buffer.from('head'), body: [Buffer.alloc(BODY, 'y')] }
  await store.commit({ changes: [{ oid, base: TID_NONE, record: again }] })
  await store.close()
  expect(await load(path, oid)).toContain('yyyy')
  const db = new Database(path)
  const rows = db.prepare("SELECT value FROM meta WHERE name LIKE 'epoch %'").pluck().all()
  db.close()
  expect(new Set(rows).size).toBe(3)
})

test('a forged tombstone is an error and a damage, but never an absent file or a hole', async () => {
  const path = temporaryDatabase()
  {
    await using made = await open(path, opened)
    await made.files.mkdir('/d')
    for (let i = 0; i < 10; i++) await made.files.writeFile(`/d/${i}`, `file ${i}`)
    await made.files.writeFile('/large', Buffer.alloc(3 << 20, 'L'))
    await made.files.writeFile('/chunks', Buffer.alloc(40_000, 'C'))
    await made.sync()
    const file = await made.files.open('/chunks', 'r+')
    await file.write(Buffer.from('x'), 0, 1, 20_000)
    await file.close()
  }
  const db = new Database(path, { readonly: true })
  const newest = db
    .prepare<[], { oid: bigint; tid: bigint }>('SELECT oid, max(tid) AS tid FROM revision GROUP BY oid')
    .safeIntegers()
    .all()
  db.close()
  const whole = await contentOf(path)
  let errors = 0
  for (const { oid, tid } of newest) {
    const copy = temporaryDatabase()
    await copyDatabase(path, copy)
    const forged = new Database(copy)
    forged
      .prepare(
        'UPDATE revision SET head = NULL, pos = NULL, len = 0, tail = NULL, sum = ? WHERE oid = ? AND tid = ?',
      )
      .run(rowSum(Number(oid), tid, null, null, 0, null), oid, tid)
    forged.close()
    const found = await contentOf(copy).catch(String)
    expect([oid, found]).not.toEqual([oid, expect.stringContaining('ENOENT')])
    if (found === whole) continue
    expect([oid, found]).toEqual([oid, expect.stringMatching(/^[A-Za-z]*Error/)])
    errors++
    expect(await damagesOf(copy, key).catch(() => ['cannot be opened'])).not.toEqual([])
  }
  expect(errors).toBeGreaterThan(newest.length / 2)
}, 120_000)

test('wrong keys and missing ones are refused, and a plain database with encryption=', async () => {
  const path = temporaryDatabase()
  await commit(path, 'first')
  const wrong = async (): Promise<Secret> => ({ kind: 'file', bytes: Buffer.alloc(32, 'other') })
  for (const readOnly of [true, false] as const) {
    const open = (source?: typeof key): Promise<unknown> =>
      openSqliteStore(path, { readOnly: readOnly as true, key: source })
    await expect(open()).rejects.toMatchObject({ code: 'key-needed' })
    await expect(open(wrong)).rejects.toMatchObject({ code: 'wrong-key' })
  }
  const plain = temporaryDatabase()
  await (await openSqliteStore(plain, { create: true })).close()
  await expect(openSqliteStore(plain, opened)).rejects.toMatchObject({ code: 'fixed-option' })
  rmSync(plain)
})
