/** The inodes that a walk has met, and where. In a scratch database, so memory is bounded. */
import type { Oid } from '../../store/ids.ts'
import { PagedBitmap } from '../../store/paged-bitmap.ts'
import { openScratch, ScratchNames } from '../../store/scratch.ts'
import { PathResolver, type Place, ShownPath, ROOT_PATH } from '../tree/shown-path.ts'
import type { Usage } from '../tree/superblock.ts'

export interface MetInode {
  readonly oid: Oid
  readonly isDirectory: boolean
  /** The directory in which it was met; absent if it has no name. */
  readonly parent: Oid | undefined
  readonly name: string
  readonly stored: number
  /** Its own count of links. */
  readonly nlink: number
}

interface InodeRow {
  readonly oid: Oid
  readonly directory: number
  readonly parent: Oid | null
  readonly name: Buffer
}

export class InodeTable {
  readonly #names = new ScratchNames()
  readonly #db = openScratch(`
    CREATE TABLE inode (
      id INTEGER PRIMARY KEY, oid INTEGER UNIQUE NOT NULL, directory INTEGER NOT NULL,
      parent INTEGER, name BLOB NOT NULL, names INTEGER NOT NULL, stored INTEGER NOT NULL,
      nlink INTEGER NOT NULL
    );
    CREATE INDEX inode_by_parent ON inode (parent) WHERE directory = 1;
    CREATE TABLE lost_inode (oid INTEGER PRIMARY KEY);
    CREATE TABLE lost_child (oid INTEGER PRIMARY KEY);
  `)
  readonly #enter = this.#db.prepare<[number, number, number | null, Buffer, number, number, number]>(
    'INSERT INTO inode (oid, directory, parent, name, names, stored, nlink) VALUES (?, ?, ?, ?, ?, ?, ?)',
  )
  readonly #get = this.#db.prepare<[number], InodeRow>(
    'SELECT oid, directory, parent, name FROM inode WHERE oid = ?',
  )
  readonly #resolver = new PathResolver(oid => this.#placeOf(oid))
  readonly #met = new PagedBitmap()
  #count = 0
  #walked = 0

  close(): void {
    this.#db.close()
    this.#names.close()
    this.#met.close()
  }

  get count(): number {
    return this.#count
  }

  enter({ oid, isDirectory, parent, name, stored, nlink }: MetInode): void {
    const names = parent === undefined ? 0 : 1
    this.#enter.run(oid, isDirectory ? 1 : 0, parent ?? null, this.#names.seal(name), names, stored, nlink)
    this.#met.add(oid)
    this.#count++
  }

  /** Whether an inode was met. */
  has(oid: Oid): boolean {
    return this.#met.has(oid)
  }

  get(oid: Oid): { readonly isDirectory: boolean } | undefined {
    const row = this.#met.has(oid) ? this.#get.get(oid) : undefined
    return row === undefined ? undefined : { isDirectory: row.directory === 1 }
  }

  addName(oid: Oid): void {
    this.#db.prepare('UPDATE inode SET names = names + 1 WHERE oid = ?').run(oid)
  }

  /** The next directory in the order of discovery; each is returned once. */
  nextDirectory(): Oid | undefined {
    const row = this.#db
      .prepare<[number], { id: number; oid: Oid }>(
        'SELECT id, oid FROM inode WHERE id > ? AND directory = 1 ORDER BY id LIMIT 1',
      )
      .get(this.#walked)
    this.#walked = row?.id ?? this.#walked
    return row?.oid
  }

  /** The first path that led to an inode, shortened if it is long. */
  async pathOf(oid: Oid): Promise<string> {
    const path = await this.#resolver.pathOf(oid)
    return path === undefined ? noName(oid) : `/${path.text}`
  }

  #placeOf(oid: Oid): Place | ShownPath {
    const row = this.#get.get(oid)
    if (row === undefined || row.parent === null) return ShownPath.from(noName(oid))
    return row.parent === oid ? ROOT_PATH : { parent: row.parent, name: this.#names.open(row.name) }
  }

  /**
   * The link count of inodes: their names, and for a directory its own '.' and the '..' of its subdirectories.
   * @param all whether to include inodes whose own count was correct when they were met.
   */
  *links(all: boolean): Generator<{ readonly oid: Oid; readonly links: number }> {
    const next = this.#db.prepare<[number], { id: number; oid: Oid; links: number }>(
      `SELECT id, oid, links FROM (SELECT id, oid, nlink,
         CASE directory WHEN 0 THEN names WHEN 1 THEN CASE WHEN parent IS NULL THEN 0 ELSE 2 + (
           SELECT count(*) FROM inode AS child WHERE child.parent = inode.oid AND child.directory = 1 AND child.oid <> inode.oid
         ) END END AS links
       FROM inode) WHERE id > ? ${all ? '' : 'AND links <> nlink'} ORDER BY id LIMIT 1`,
    )
    for (let row = next.get(0); row !== undefined; row = next.get(row.id)) yield row
  }

  usage(): Usage {
    const sum = this.#db.prepare<[], Usage>(
      'SELECT coalesce(sum(stored), 0) AS bytes, count(*) AS inodes FROM inode',
    )
    return sum.get() ?? { bytes: 0, inodes: 0 }
  }

  addLost(oid: Oid): void {
    this.#db.prepare('INSERT OR IGNORE INTO lost_inode (oid) VALUES (?)').run(oid)
  }

  addLostChild(oid: Oid): void {
    this.#db.prepare('INSERT OR IGNORE INTO lost_child (oid) VALUES (?)').run(oid)
  }

  /** Removes and returns a lost inode that has not been met meanwhile; first those that no other lost inode leads to. */
  nextLost(): Oid | undefined {
    const found = this.#db
      .prepare<[], Oid>(
        `SELECT oid FROM lost_inode WHERE oid NOT IN (SELECT oid FROM inode)
         ORDER BY EXISTS (SELECT 1 FROM lost_child WHERE lost_child.oid = lost_inode.oid), oid LIMIT 1`,
      )
      .pluck()
      .get()
    if (found !== undefined) this.#db.prepare('DELETE FROM lost_inode WHERE oid = ?').run(found)
    return found
  }
}

const noName = (oid: Oid): string => `(no name)/#${oid}`
