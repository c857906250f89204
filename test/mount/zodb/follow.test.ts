import { appendFileSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import Database from 'better-sqlite3'
import { describe, expect, it, onTestFinished } from 'vitest'
import type { Ino, Notifier } from '../../../core/file-system/operations.ts'
import { parseTid } from '../../../store/ids.ts'
import { openRelStorage } from '../../../store/relstorage/rel-storage.ts'
import { caseFile } from '../../zodb/cases.ts'
import { DATABASES, difference } from '../../zodb/manifest.ts'
import { historyFree, PreservingDatabase } from '../../store/relstorage/database.ts'
import type { History } from '../../store/history.ts'
import { readFileStorage } from '../../tools/file-storage-reader.ts'
import { codeOf } from '../../tools/paths.ts'
import { fileStoragePaths, foreignPaths, temporaryDirectory, type ForeignPaths } from './foreign-paths.ts'

const [tiny] = DATABASES
const { files, txns } = tiny!.manifest()

/** Where in tiny.fs each transaction ends. */
function transactionEnds(): number[] {
  const bytes = readFileSync(tiny!.path)
  const ends: number[] = []
  for (let pos = 4; pos < bytes.length;) {
    pos += Number(bytes.readBigUInt64BE(pos + 8)) + 8
    ends.push(pos)
  }
  return ends
}

/** tiny.fs as a history. */
function tinyHistory(): History {
  return [...readFileStorage(tiny!.path)].map(({ tid, user, description, extension, records }) => ({
    tid: tid as never,
    user: String(user),
    description: String(description),
    extension,
    records: new Map(records.map(({ oid, data }) => [Number(oid) as never, data])),
  }))
}

/** Compares the files with what they were after a transaction. */
async function expectState(paths: ForeignPaths, tid: string, prefix = 'root/'): Promise<void> {
  const state = txns.find(txn => txn.tid === tid)
  for (const [name, file] of Object.entries(state!.files))
    expect(
      difference(await paths.read(prefix + name), file, files[name]!.blksize),
      `${name} at ${tid}`,
    ).toBeUndefined()
}

/** A transaction of another process in a database without history. */
function commitTo(path: string, { tid, records }: History[number]): void {
  const db = new Database(path)
  const state = db.prepare('INSERT OR REPLACE INTO object_state VALUES (?, ?, ?, ?)')
  db.transaction(() => {
    for (const [oid, record] of records) state.run(oid, tid, record?.length ?? 0, record)
  })()
  db.close()
}

class RecordingNotifier implements Notifier {
  readonly calls: { readonly ino: Ino; readonly off: bigint; readonly len: bigint }[] = []
  invalidateInode(ino: Ino, off: bigint, len: bigint): void {
    this.calls.push({ ino, off, len })
  }
  invalidateEntry(): void {}
  invalidateNames(): void {}
  async invalidateAttributes(): Promise<void> {}
  async settled(): Promise<void> {}
}

describe('a mount of a FileStorage that another process appends to', () => {
  it('follows new transactions, and invalidates exactly the changed pages in the kernel', async () => {
    const bytes = readFileSync(tiny!.path)
    const path = join(temporaryDirectory(), 'Data.fs')
    const ends = transactionEnds()
    const first = ends.length - txns.length
    writeFileSync(path, bytes.subarray(0, ends[first]))
    const paths = await fileStoragePaths(path, { followIntervalMs: 1 << 30 })
    const notifier = new RecordingNotifier()
    paths.zodb.attach(notifier)
    await expectState(paths, txns[0]!.tid)
    for (let i = 1; i < txns.length; i++) {
      // The kernel refers to each file and has all its pages.
      const held = new Map<Ino, string>()
      for (const name of Object.keys(files)) {
        const opened = await paths.open(`root/${name}`, 0)
        held.set(opened.ino, name)
        onTestFinished(() => paths.close(opened))
        await paths.read(`root/${name}`)
      }
      notifier.calls.length = 0
      appendFileSync(path, bytes.subarray(ends[first + i - 1], ends[first + i]))
      expect(await paths.zodb.sync()).toBe(parseTid(txns[i]!.tid))
      await expectState(paths, txns[i]!.tid)
      await expectState(paths, txns[i - 1]!.tid, `@${txns[i - 1]!.tid}/root/`)
      const forgotten = new Set<string>()
      for (const { ino, off } of notifier.calls)
        if (off >= 0n) forgotten.add(`${held.get(ino)} ${off / BigInt(files[held.get(ino)!]!.blksize)}`)
      for (const name of Object.keys(files)) {
        const size = Math.min(txns[i - 1]!.files[name]!.size, txns[i]!.files[name]!.size)
        const [before, after] = [txns[i - 1]!, txns[i]!].map(
          txn => new Map(txn.files[name]!.blocks.map(({ blk, sha256 }) => [blk, sha256])),
        )
        const blocks = size / files[name]!.blksize
        let changed = 0
        for (let blk = 0; blk < blocks; blk++)
          if (before!.get(blk) !== after!.get(blk)) {
            changed++
            expect(forgotten.has(`${name} ${blk}`), `${name} ${blk} in ${i}`).toBe(true)
          }
        // A file that did not change keeps its pages.
        if (changed === 0 && before!.size === after!.size)
          expect([...forgotten].filter(each => each.startsWith(`${name} `))).toEqual([])
      }
    }
    await paths.zodb.close()
  })

  it('advances by itself', async () => {
    const bytes = readFileSync(tiny!.path)
    const path = join(temporaryDirectory(), 'Data.fs')
    const ends = transactionEnds()
    writeFileSync(path, bytes.subarray(0, ends.at(-2)))
    const paths = await fileStoragePaths(path, { followIntervalMs: 5 })
    appendFileSync(path, bytes.subarray(ends.at(-2)))
    await expect.poll(() => paths.zodb.lastTid(), { timeout: 20_000 }).toBe(parseTid(txns.at(-1)!.tid))
    await expectState(paths, txns.at(-1)!.tid)
  })

  it('shrinks a file whose last block was deleted, and notifies the kernel', async () => {
    const bytes = readFileSync(caseFile('deleted'))
    const ends: number[] = []
    for (let pos = 4; pos < bytes.length; ends.push(pos)) pos += Number(bytes.readBigUInt64BE(pos + 8)) + 8
    const path = join(temporaryDirectory(), 'Data.fs')
    writeFileSync(path, bytes.subarray(0, ends[0]))
    const paths = await fileStoragePaths(path, { followIntervalMs: 1 << 30 })
    const notifier = new RecordingNotifier()
    paths.zodb.attach(notifier)
    const opened = await paths.open('root/f', 0)
    onTestFinished(() => paths.close(opened))
    expect((await paths.read('root/f')).length).toBe(8192)
    for (const [end, letters] of [
      [ends[1], 'A'],
      [ends[2], 'AG'],
    ] as const) {
      notifier.calls.length = 0
      writeFileSync(path, bytes.subarray(0, end))
      await paths.zodb.sync()
      expect((await paths.stat('root/f')).size).toBe(BigInt(letters.length * 4096))
      const expected = Buffer.concat(letters.split('').map(letter => Buffer.alloc(4096, letter)))
      expect((await paths.readAt(opened, 0n, 1 << 20)).equals(expected)).toBe(true)
      const isBlock1 = ({ ino, off }: (typeof notifier.calls)[number]) => ino === opened.ino && off === 4096n
      if (letters === 'A') expect(notifier.calls.some(isBlock1)).toBe(true)
      expect(notifier.calls.some(({ ino, off }) => ino === opened.ino && off === -1n)).toBe(true)
    }
    expect((await paths.read('@040d000000000001/root/f')).length).toBe(8192)
  })

  it('shows the previous state while an appended transaction is incomplete', async () => {
    const bytes = readFileSync(tiny!.path)
    const path = join(temporaryDirectory(), 'Data.fs')
    const ends = transactionEnds()
    writeFileSync(path, bytes.subarray(0, ends.at(-2)! + 1000))
    const paths = await fileStoragePaths(path, { followIntervalMs: 1 << 30 })
    expect(await paths.zodb.sync()).toBe(parseTid(txns.at(-2)!.tid))
    await expectState(paths, txns.at(-2)!.tid)
  })
})

describe('a mount of a RelStorage database', () => {
  it('with history shows every transaction', async () => {
    const path = join(temporaryDirectory(), 'main.sqlite3')
    const database = new PreservingDatabase(path).add(tinyHistory())
    onTestFinished(() => void database.db.close())
    const paths = await foreignPaths(await openRelStorage(path))
    for (const { tid } of txns) await expectState(paths, tid, `@${tid}/root/`)
    await expectState(paths, txns.at(-1)!.tid)
  })

  it('without history advances when its moment is gone', async () => {
    const path = join(temporaryDirectory(), 'main.sqlite3')
    const history = tinyHistory()
    const ends = history.map(({ tid }) => tid)
    const before = history.slice(0, -1)
    historyFree(path, before).close()
    const paths = await foreignPaths(await openRelStorage(path), { followIntervalMs: 1 << 30 })
    expect(await paths.zodb.lastTid()).toBe(ends.at(-2))
    const opened = await paths.open('root/A', 0)
    commitTo(path, history.at(-1)!)
    // It has not followed yet: the moment that it shows has been packed away.
    const bytes = await paths.readAt(opened, 0n, 1 << 30)
    expect(difference(bytes, txns.at(-1)!.files['A']!, files['A']!.blksize)).toBeUndefined()
    await expectState(paths, txns.at(-1)!.tid)
    await paths.close(opened)
  })
})

describe('a mount that cannot continue', () => {
  it('ends with its store', async () => {
    const paths = await fileStoragePaths(tiny!.path)
    await paths.zodb.close()
    expect(await codeOf(paths.read('root/A'))).toBe('StoreError')
    await paths.zodb.close()
  })
})
