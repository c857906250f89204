/** Damage of each kind: found, named, repaired as far as it can be; afterwards nothing is found and the rest is as it was. */
import { open, readFile, rm, truncate } from 'node:fs/promises'
import { join } from 'node:path'
import Database from 'better-sqlite3'
import { beforeAll, describe, expect, onTestFinished, test } from 'vitest'
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { checkDatabase, type CheckSummary } from '../../../core/check/check-database.ts'
import { describeDamage, type Damage } from '../../../core/check/damage.ts'
import { Connection } from '../../../core/objects/connection.ts'
import { Directory } from '../../../core/tree/directory.ts'
import { Inode } from '../../../core/tree/inode.ts'
import { ByteString, Ref } from '../../../core/objects/pickle/value.ts'
import { encodeRecord } from '../../../core/objects/record.ts'
import { Superblock } from '../../../core/tree/superblock.ts'
import { OOBTree } from '../../../core/btree/tree.ts'
import { knownOid } from '../../../store/ids.ts'
import { segmentPath } from '../../../store/segment-files/log-layout.ts'
import { logDirectory } from '../../../store/sqlite/log.ts'
import { openSqliteStore } from '../../../store/sqlite/open/open-sqlite-store.ts'
import { FileSystem } from '../../../core/file-system/file-system.ts'
import { Paths } from '../../tools/paths.ts'
import { copyDatabase, removeDatabase } from '../../tools/database-files.ts'
import { openPaths } from '../../tools/temporary-database.ts'
import { makeSmallDatabase, pattern, readTree } from './small-database.ts'

const directory = mkdtempSync(join(tmpdir(), 'zblkfs-check-'))
const original = join(directory, 'original.zblkfs')
let intact: Map<string, string>

beforeAll(async () => {
  await makeSmallDatabase(original)
  await edit(original, async ({ at }) => {
    for (const path of ['/', '/a/renamed']) inodes.set(path, (await at(path)).oid)
  })
  intact = await treeOf(original)
  return () => rmSync(directory, { recursive: true, force: true })
})

/** What is damaged, how fsck names it, and which paths cannot be what they were afterwards. */
interface Case {
  readonly title: string
  readonly damage: (path: string) => Promise<void> | void
  readonly named: RegExp
  readonly touched?: RegExp
}

const cases: readonly Case[] = [
  {
    title: "a flipped byte in an inode's row",
    damage: path => flipIn(path, `oid = ${inodeOf('/a/renamed')} ORDER BY tid DESC`),
    named:
      /^\/a\/renamed: its inode: the checksum of its index entry differs \(object [0-9a-f]{16}, transaction [0-9a-f]{16}\)/m,
    touched: /^\/a\/(renamed|b\/second)$/,
  },
  {
    title: 'a flipped byte of a whole block',
    damage: path => flipAt(segment(path), pattern(2 << 20, 2).subarray(1_048_576, 1_048_640)),
    named: /^\/a\/whole bytes \[1048576, 1052672\): the checksum of its bytes in the log differs/m,
    touched: /^\/a\/whole$/,
  },
  {
    title: 'a flipped byte of a chunk',
    damage: path => flipAt(segment(path), pattern(70_000, 1).subarray(40_960, 41_020)),
    named: /^\/a\/b\/chunks bytes \[40960, 45056\): the checksum of its bytes in the log differs/m,
    touched: /^\/a\/b\/chunks$/,
  },
  {
    title: 'a flipped byte in a bucket of a directory',
    damage: path =>
      flipIn(
        path,
        "head LIKE '%OOBucket%file 50%' OR instr(head, 'OOBucket') AND instr(head, 'file 50') ORDER BY tid DESC",
      ),
    named: /^\/many: entries cannot be read: the checksum of its index entry differs/m,
    touched: /^\/many\//,
  },
  {
    title: 'a chunk that is gone',
    damage: path =>
      run(
        path,
        "DELETE FROM revision WHERE oid = (SELECT max(oid) FROM revision WHERE instr(head, 'ZData') AND oid < (SELECT max(oid) FROM revision WHERE instr(head, 'ZBlk0')))",
      ),
    named: /^\/(a|many)\/.* bytes \[\d+, \d+\): it does not exist/m,
    touched: /^\/(a\/b\/chunks|a\/renamed|a\/b\/second)$/,
  },
  {
    title: "a file's bytes that are an object of another class",
    damage: path =>
      edit(path, async ({ connection, at }) => {
        const inode = await at('/a/whole')
        const [base] = await connection.records.revisions(inode.data!.oid)
        connection.putRecord(
          inode.data!.oid,
          'BTrees.LOBTree.LOBTree',
          { head: encodeRecord('BTrees.LOBTree.LOBTree', null) },
          base!,
        )
      }),
    named:
      /^\/a\/whole bytes \[0, 2197152\): it is a BTrees\.LOBTree\.LOBTree, but is referred to as a wendelin\.bigfile\.file_zodb\.ZBigFile/m,
    touched: /^\/a\/whole$/,
  },
  {
    title: 'a wrong link count',
    damage: path => edit(path, async ({ at }) => void ((await at('/a/renamed')).nlink = 7)),
    named: /^\/a\/(renamed|b\/second): its link count is 7, but it has 2/m,
  },
  {
    title: 'a directory within itself',
    damage: path =>
      edit(path, async ({ connection, at }) => {
        const b = await at('/a/b')
        await Directory.of(connection, b).set('up', await at('/a'))
      }),
    named: /^\/a\/b\/up: the directory is also in another place: \/a /m,
  },
  {
    title: 'a directory that takes another for its parent',
    damage: path => edit(path, async ({ at }) => void ((await at('/a/b')).parent = (await at('/many')).ref)),
    named: /^\/a\/b: it refers to another directory as its parent/m,
  },
  {
    title: 'an entry that leads nowhere',
    damage: path =>
      edit(path, async ({ connection, at }) => {
        const tree = connection.resolve((await at('/a')).entries!) as OOBTree
        await tree.set(
          new ByteString('nowhere'),
          new Ref(knownOid(987_654), 'persistent.mapping.PersistentMapping'),
        )
      }),
    named: /^\/a\/nowhere: the entry does not lead to an inode/m,
  },
  {
    title: 'an entry whose name cannot be one',
    damage: path =>
      edit(path, async ({ connection, at }) => {
        const tree = connection.resolve((await at('/a')).entries!) as OOBTree
        await tree.set(new ByteString('b/c'), (await at('/a/renamed')).ref)
      }),
    named: /^\/a\/b\/c: its name is not valid/m,
  },
  {
    title: 'a directory that lost its entries',
    damage: path =>
      edit(
        path,
        async ({ connection, at }) =>
          void ((await at('/a')).entries = (await connection.create(OOBTree)).ref),
      ),
    named: /^lost: a directory in no directory/m,
    touched: /^\/a\//,
  },
  {
    title: 'bytes after the end of a file',
    damage: path => edit(path, async ({ at }) => void ((await at('/a/b/chunks')).size = 10_000n)),
    named: /^\/a\/b\/chunks bytes \[10000, 70000\): bytes are stored after the end of the file/m,
    touched: /^\/a\/b\/chunks$/,
  },
  {
    title: 'wrong sums in the superblock',
    damage: path => edit(path, async ({ superblock }) => await superblock.setUsage({ bytes: 1, inodes: 2 })),
    named: /^usage: the superblock says 2 inodes with 1 bytes, but there are 108 with/m,
  },
  {
    title: 'a damaged superblock',
    damage: path => flipIn(path, "instr(head, 'orphans') ORDER BY tid DESC"),
    named: /^superblock: the superblock: the checksum of its index entry differs/m,
  },
  {
    title: 'a superblock that is gone',
    damage: path => run(path, "DELETE FROM revision WHERE instr(head, 'orphans')"),
    named: /^superblock: .*does not exist/m,
  },
  {
    title: 'a damaged root mapping',
    damage: path => flipIn(path, 'oid = 0'),
    named: /^superblock: the root mapping: the checksum of its index entry differs/m,
  },
  {
    title: 'a damaged root directory',
    damage: path => flipIn(path, `oid = ${inodeOf('/')} ORDER BY tid DESC`),
    named: /^\/: the root directory: the checksum of its index entry differs/m,
  },
  {
    title: 'a reference of the past that leads nowhere',
    damage: path =>
      run(
        path,
        "DELETE FROM revision WHERE tid = (SELECT max(tid) FROM revision WHERE instr(head, 'gone soon')) AND instr(head, 'gone soon')",
      ),
    named: /transaction [0-9a-f]{16}.*in the past only|^transaction: it has \d+ objects/m,
  },
  {
    title: 'a transaction whose entry is missing',
    damage: path => run(path, 'DELETE FROM txn WHERE tid = (SELECT min(tid) FROM txn)'),
    named: /^transaction: its entry is missing, its objects are present \(transaction [0-9a-f]{16}\)/m,
  },
  {
    title: 'a transaction with another description',
    damage: path =>
      run(path, "UPDATE txn SET description = description || '!' WHERE tid = (SELECT min(tid) FROM txn)"),
    named: /^transaction: the checksum of its entry differs/m,
  },
  {
    title: 'a last transaction that gives oids out again',
    damage: path => run(path, 'UPDATE txn SET next_oid = 5 WHERE tid = (SELECT max(tid) FROM txn)'),
    named: /^transaction: the checksum of its entry differs/m,
  },
  {
    title: 'a log file that is gone',
    damage: async path => await rm(segment(path)),
    named: /^\/a\/whole bytes \[0, 2097152\): its log file .*00000000 is missing: put .*-log back next to/m,
    touched: /^\/a\/(whole|b\/chunks)$/,
  },
  {
    title: 'a log file that was cut short',
    damage: async path => await truncate(segment(path), 1_000_000),
    named: /^\/a\/whole bytes \[\d+, 2097152\): its log file ends before its bytes/m,
    touched: /^\/a\/whole$/,
  },
  {
    title: 'a damaged header of a log file',
    damage: path => flipAt(segment(path), Buffer.from('zblkfs log')),
    named: /^structure: the header of log file 0 is damaged/m,
  },
  {
    title: "a damaged id of the database's",
    damage: path => run(path, "UPDATE meta SET value = 'f' || value WHERE name = 'database id'"),
    named: /^structure: its row of meta 'database id' is damaged/m,
  },
]

describe('fsck finds, names and repairs', () => {
  test.each(cases)('$title', async ({ damage, named, touched }) => {
    const path = copyPath()
    await copyDatabase(original, path)
    await damage(path)

    const found = await check(path, false)
    expect(found.lines).toMatch(named)
    expect(found.summary.left).toBeGreaterThan(0)

    const repaired = await check(path, true)
    expect(repaired.lines).toMatch(/; repair: /)
    expect(repaired.summary).toMatchObject({ left: 0 })

    const after = await check(path, false)
    expect(after.lines).toBe('')
    const tree = await treeOf(path)
    for (const [name, content] of intact) {
      if (touched?.test(name) !== true) expect(tree.get(name), name).toBe(content)
    }
  })

  test('nothing in an intact database, and a repair changes nothing', async () => {
    const path = copyPath()
    await copyDatabase(original, path)
    expect(await check(path, false)).toMatchObject({ lines: '', summary: { found: 0, left: 0, inodes: 108 } })
    const before = await readFile(path)
    expect(await check(path, true)).toMatchObject({ lines: '', summary: { found: 0, left: 0 } })
    expect((await readFile(path)).equals(before)).toBe(true)
  })

  test('makes a hole of what is lost and keeps the bytes around it', async () => {
    const path = copyPath()
    await copyDatabase(original, path)
    await flipAt(segment(path), pattern(2 << 20, 2).subarray(1_048_576, 1_048_640))
    await check(path, true)
    const paths = await openPaths(path)
    const bytes = await paths.read('/a/whole')
    const expected = Buffer.concat([pattern(2 << 20, 2), pattern(100_000, 3)])
    expected.fill(0, 1_048_576, 1_052_672)
    expect(Buffer.compare(bytes, expected)).toBe(0)
  })

  test('puts what has lost its directory into lost+found, where it can be read', async () => {
    const path = copyPath()
    await copyDatabase(original, path)
    await edit(
      path,
      async ({ connection, at }) => void ((await at('/a')).entries = (await connection.create(OOBTree)).ref),
    )
    await check(path, true)
    const paths = await openPaths(path)
    const [...names] = await paths.list('/lost+found')
    const found = await Promise.all(names.map(name => readTree(paths, `/lost+found/${name}`)))
    const contents = found.flatMap(tree => [...tree.values()])
    for (const name of ['/a/whole', '/a/renamed', '/a/b/chunks', '/a/b/link'])
      expect(contents, name).toContain(intact.get(name))
  })
})

interface Editor {
  readonly connection: Connection
  readonly superblock: Superblock
  readonly at: (path: string) => Promise<Inode>
}

/** Changes objects, whatever comes of it. */
async function edit(path: string, change: (editor: Editor) => Promise<void>): Promise<void> {
  const store = await openSqliteStore(path)
  const connection = await Connection.open(store, { cacheSizeBytes: 1 << 20 })
  const superblock = await Superblock.open(connection)
  const at = async (name: string): Promise<Inode> => {
    let inode = Inode.at(connection, await superblock.rootOid())
    await inode.activate()
    for (const part of name.split('/').filter(part => part !== '')) {
      inode = Inode.at(connection, (await Directory.of(connection, inode).get(part))!)
      await inode.activate()
    }
    return inode
  }
  await change({ connection, superblock, at })
  await connection.prepare()
  await connection.commit()
  await store.close()
}

function run(path: string, statement: string): void {
  const db = new Database(path)
  expect(db.prepare(statement).run().changes).toBeGreaterThan(0)
  db.pragma('wal_checkpoint(TRUNCATE)')
  db.close()
}

/** Changes the head of the first revision that `where` finds. */
async function flipIn(path: string, where: string): Promise<void> {
  const db = new Database(path, { readonly: true })
  const [sum, head] = db
    .prepare<[], [number, Buffer]>(`SELECT sum, head FROM revision WHERE ${where}`)
    .raw()
    .get()!
  db.close()
  // A row has its sum before its head. Pages may have copies of it that are of no use any more.
  // SQLite keeps an integer in as few bytes as it needs: only the last one is always there.
  await flipAt(path, Buffer.concat([Buffer.of(sum & 0xff), head]))
}

/** Changes a byte in the middle of these bytes, wherever they stand in the file. */
async function flipAt(path: string, needle: Uint8Array): Promise<void> {
  const bytes = await readFile(path)
  const file = await open(path, 'r+')
  let at = bytes.indexOf(needle)
  expect(at).toBeGreaterThanOrEqual(0)
  for (; at >= 0; at = bytes.indexOf(needle, at + 1)) {
    const middle = at + (needle.length >> 1)
    await file.write(Buffer.of(bytes[middle]! ^ 0x10), 0, 1, middle)
  }
  await file.close()
}

const segment = (path: string): string => segmentPath(logDirectory(path), 0)

/** The oids of some paths' inodes. */
const inodes = new Map<string, number>()
const inodeOf = (path: string): number => inodes.get(path)!

const treeOf = async (path: string): Promise<Map<string, string>> => {
  const store = await openSqliteStore(path, { readOnly: true })
  const fs = await FileSystem.open(store)
  const tree = await readTree(new Paths(fs))
  await fs.close()
  return tree
}

async function check(path: string, repair: boolean): Promise<{ lines: string; summary: CheckSummary }> {
  const found: Damage[] = []
  const report = (damage: Damage): void => void found.push(damage)
  const summary = await checkDatabase(path, { data: true, repair, report, progress: () => undefined })
  return { lines: found.map(describeDamage).join('\n'), summary }
}

function copyPath(): string {
  const path = join(mkdtempSync(join(directory, 'copy-')), 'copy.zblkfs')
  onTestFinished(async () => await removeDatabase(path))
  return path
}
