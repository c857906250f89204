/** A filesystem with a random history: files of all lengths, renames, links, clones, restores, undo, files that are open and unlinked. */
import { pack } from '../../../core/pack/pack.ts'
import { Database } from '../../../core/database/database.ts'
import type { File } from '../../../core/database/file.ts'
import { FileSystem } from '../../../core/file-system/file-system.ts'
import { parseTid, TID_NONE, type Tid } from '../../../store/ids.ts'
import type { KeptMoments } from '../../../store/kept-moments.ts'
import type { WritableStore } from '../../../store/store.ts'
import type { Random } from './object-model.ts'

const CHANGES = 25
const BYTES = [0, 100, 900, 5000, 70_000, 3_000_000]

interface Mounted {
  readonly store: WritableStore
  readonly fs: FileSystem
  readonly db: Database
}

/** A filesystem and what is chosen from at random. */
export class RandomTree {
  readonly random: Random
  readonly tids: Tid[] = []
  readonly #openStore: () => Promise<WritableStore>
  #paths: string[] = []
  #directories: string[] = ['/']
  #open: File[] = []
  #count = 0
  #parts: Mounted | undefined

  /** @param openStore makes the database if there is none. */
  constructor(openStore: () => Promise<WritableStore>, random: Random) {
    this.#openStore = openStore
    this.random = random
  }

  get store(): WritableStore {
    return this.#mounted.store
  }

  async mount(): Promise<void> {
    const store = await this.#openStore()
    const fs = await FileSystem.open(store, {})
    const caller = { uid: 0, gid: 0, pid: 0 }
    const db = new Database({ fileSystem: fs, store, caller, umask: 0o022, close: () => fs.close() })
    this.#parts = { store, fs, db }
  }

  async unmount(): Promise<void> {
    for (const file of this.#open.splice(0)) await file.close()
    await this.#mounted.fs.close()
    this.#parts = undefined
  }

  async pack(kept: KeptMoments): Promise<void> {
    const { store, fs } = this.#mounted
    await pack(store, {
      from: kept.from,
      moments: () => Promise.resolve(kept.earlier),
      settle: () => fs.quiesce(),
    })
  }

  /** Changes the tree, in some transactions. */
  async change(): Promise<void> {
    for (let count = 0; count < CHANGES; count++) {
      try {
        await this.#changeOnce()
      } catch (error) {
        // A name that is gone, a directory into itself, a moment without the path, and the like.
        if (typeof (error as { code?: unknown }).code !== 'string') throw error
      }
      if (this.random(3) === 0) await this.sync()
    }
    await this.sync()
  }

  /** Writes small files, a hundred in a directory. */
  async write(count: number): Promise<void> {
    const { files } = this.#mounted.db
    for (let index = 0; index < count; index++) {
      const directory = `/d${Math.floor(index / 100)}`
      await files.mkdir(directory).catch(() => undefined)
      await files.writeFile(`${directory}/${index}`, this.#bytes())
    }
    await this.sync()
  }

  async sync(): Promise<void> {
    this.tids.push(parseTid(await this.#mounted.db.sync()) ?? TID_NONE)
  }

  async #changeOnce(): Promise<void> {
    const { db } = this.#mounted
    const { files } = db
    const [path, other] = [this.#any(), this.#any()]
    const moment = `${this.tids[this.random(Math.max(1, this.tids.length))]?.toString(16).padStart(16, '0')}`
    switch (this.random(16)) {
      case 0:
      case 1:
      case 2:
        return await files.writeFile(this.#newPath(), this.#bytes())
      case 3:
        this.#directories.push(await this.#made(this.#newPath(), made => files.mkdir(made)))
        return
      case 4:
        return await files.rename(path, other)
      case 5:
        return await files.rename(path, this.#newPath())
      case 6:
        return await files.unlink(path)
      case 7:
        return await files.rm(this.random(3) === 0 ? this.#directory() : path, { recursive: true })
      case 8:
        return await files.link(path, this.#newPath())
      case 9:
        return await files.symlink('/somewhere', this.#newPath())
      case 10:
        return void (await db.clone(path, this.#newPath()))
      case 11:
        return void (await db.restore(path, moment))
      case 12:
        return void (await db.undo(moment))
      case 13: {
        const file = await files.open(path, 'r+')
        this.#open.push(file)
        return await files.unlink(path)
      }
      case 14: {
        const file = this.#open[this.random(this.#open.length)]
        if (this.random(2) === 0) await this.#open.shift()?.close()
        else if (file !== undefined) await file.writeFile(this.#bytes())
        return
      }
      default: {
        const file = await files.open(path, 'r+')
        await file.write(this.#bytes(), 0, undefined, this.random(100_000))
        await file.close()
      }
    }
  }

  get #mounted(): Mounted {
    if (this.#parts === undefined) throw new TypeError('not mounted')
    return this.#parts
  }

  async #made(path: string, make: (path: string) => Promise<unknown>): Promise<string> {
    await make(path)
    return path
  }

  #newPath(): string {
    const directory = this.#directory()
    const path = `${directory === '/' ? '' : directory}/${this.#count++}`
    this.#paths = [...this.#paths.slice(-60), path]
    return path
  }

  #any(): string {
    return this.#paths[this.random(Math.max(1, this.#paths.length))] ?? '/none'
  }

  #directory(): string {
    return this.#directories[this.random(this.#directories.length)] ?? '/'
  }

  #bytes(): Buffer {
    const random = this.random
    const bytes = Buffer.alloc(random((BYTES[random(BYTES.length)] ?? 0) + 1), 1 + random(255))
    for (let at = 0; at < bytes.length; at += 4000) bytes[at] = random(256)
    return bytes
  }
}
