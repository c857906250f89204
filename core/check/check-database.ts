/**
 * `fsck`: checks a whole database, from the bottom up.
 *
 * 1. the storage (store/capabilities.ts, `Checking`): structure, checksums, counts;
 * 2. the objects (object-check.ts): records and references, at every kept moment;
 * 3. the filesystem (file-system-check.ts): directories, files, counts, in the present.
 *
 * Losses found by 1 and 2 are passed to 3, which reports them by path and range; those that 3 does not meet belong to the
 * past, or are unreachable. A repair first lets the store remove damaged rows, then 3 commits its repairs as transactions,
 * and then everything is checked again: past losses cannot be repaired and are accepted, so that later checks do not
 * report them.
 */
import type { VerifiedBytes } from '../../store/check-memory.ts'
import type { Checking, Progress, StorageDamage, StorageRepair } from '../../store/capabilities.ts'
import { CannotOpenError, StoreError } from '../../store/errors.ts'
import { TID_MAX, type Oid, type Tid } from '../../store/ids.ts'
import { openDatabase } from '../../store/open-store.ts'
import type { RevisionReader } from '../../store/stored-revisions.ts'
import type { Store } from '../../store/store.ts'
import { Connection } from '../objects/connection.ts'
import type { Damage } from './damage.ts'
import { FileSystemCheck } from './file-system-check.ts'
import { Findings } from './findings.ts'
import { ObjectCheck } from './object-check.ts'
import { ReadAhead, readAheadStore } from './read-ahead.ts'

export interface CheckOptions {
  /** Whether to read every byte of file data. */
  readonly data: boolean
  readonly repair: boolean
  /** With `data`: reads also what an interrupted check has read. */
  readonly restart?: boolean
  /** Called if what an interrupted check has read is not read again: the bytes, and when it began. */
  readonly onResumed?: (bytes: number, startedMs: number) => void
  readonly report: (damage: Damage) => void
  readonly progress: Progress
}

export interface CheckSummary {
  readonly found: number
  /** Number of damages that remain. */
  readonly left: number
  /** Number of unreachable objects, which a pack frees. */
  readonly unreachable: number
  readonly inodes: number
  /** Whether the database is encrypted and no key was given: checksums and counts were compared, objects and names were not. */
  readonly lacksKey: boolean
}

const CACHE_BYTES = 32 << 20
const REPAIR_PURPOSE = 'zblkfs fsck --repair'
const ACCEPTED = 'recorded as lost for good; the present is intact'

/**
 * Checks a zblkfs database, which may be mounted unless it is to be repaired.
 * @throws CannotOpenError if it cannot be opened at all; LockedError if it is to be repaired and is in use;
 *   StoreError if its storage is beyond repair.
 */
export async function checkDatabase(path: string, options: CheckOptions): Promise<CheckSummary> {
  const store = await openDatabase(path, {
    readOnly: true,
    skipIndexCheck: true,
    cacheSizeBytes: CACHE_BYTES,
    mayLackKey: !options.repair,
  })
  try {
    const { checking } = store.capabilities
    if (checking === undefined) throw new CannotOpenError(`${path} cannot be checked`)
    const run = { path, store, checking }
    return options.repair ? await repair(run, options) : await check(run, options)
  } finally {
    await store.close()
  }
}

interface Database {
  readonly path: string
  /** Open for reading. */
  readonly store: Store
  readonly checking: Checking
}

async function check(database: Database, options: CheckOptions): Promise<CheckSummary> {
  let found = 0
  const run = new Run(database, options, damage => {
    found++
    options.report(damage)
  })
  try {
    const { unreachable } = await run.checkStorageAndObjects()
    if (database.store.capabilities.encrypting?.hasKey === false) {
      await run.reportUnnamed()
      return { found, left: found, unreachable, inodes: 0, lacksKey: true }
    }
    const inodes = await run.checkFileSystem(database.store)
    await run.reportUnnamed()
    run.end()
    return { found, left: found, unreachable, inodes, lacksKey: false }
  } finally {
    run.close()
  }
}

async function repair(database: Database, options: CheckOptions): Promise<CheckSummary> {
  let found = 0
  const report = (damage: Damage): void => {
    found++
    options.report(damage.past === true ? { ...damage, repaired: ACCEPTED } : damage)
  }
  const storage = await database.checking.beginRepair(REPAIR_PURPOSE)
  const run = new Run(database, options, report)
  try {
    await mendStorage(run, storage)
    const inodes = await repairFileSystem(database.path, run)
    await run.reportUnnamed()
    run.end()
    if (found === 0) return { found, left: 0, unreachable: 0, inodes, lacksKey: false }
  } finally {
    run.close()
  }
  const past: { readonly oid: Oid; readonly tid: Tid }[] = []
  let left = 0
  const again = await check(database, {
    ...options,
    repair: false,
    report(damage) {
      const { oid, tid } = damage
      if (damage.past === true && oid !== undefined && tid !== undefined) past.push({ oid, tid })
      else {
        left++
        options.report(damage)
      }
    },
  })
  await database.checking.accept(past)
  return { ...again, found, left }
}

async function mendStorage(run: Run, storage: StorageRepair): Promise<void> {
  try {
    const { needsIndex } = await run.checkStorageAndObjects()
    await storage.mend(needsIndex)
  } finally {
    await storage.end()
  }
}

async function repairFileSystem(path: string, run: Run): Promise<number> {
  const store = await openDatabase(path, {
    purpose: REPAIR_PURPOSE,
    skipIndexCheck: true,
    cacheSizeBytes: CACHE_BYTES,
  })
  try {
    return await run.checkFileSystem(store)
  } finally {
    await store.close()
  }
}

/** One check of a database, and its state. */
class Run {
  readonly #database: Database
  readonly #options: CheckOptions
  readonly #report: (damage: Damage) => void
  readonly #findings = new Findings()

  constructor(database: Database, options: CheckOptions, report: (damage: Damage) => void) {
    this.#database = database
    this.#options = options
    this.#report = report
  }

  close(): void {
    this.#findings.close()
  }

  /** Without its key an encrypted database has no legible objects. */
  get #lacksKey(): boolean {
    return this.#database.store.capabilities.encrypting?.hasKey === false
  }

  async checkStorageAndObjects(): Promise<{ readonly needsIndex: boolean; readonly unreachable: number }> {
    const { checking } = this.#database
    const { data, progress } = this.#options
    const reader = checking.reader()
    let needsIndex = false
    try {
      const upTo = (await reader.totals()).lastTid
      // What was read without the key is read again with it: its seals were not verified.
      const verified = data && !this.#lacksKey ? this.#verified() : undefined
      for await (const damage of checking.storage({ upTo, everyByte: data, progress, verified })) {
        needsIndex ||= damage.kind !== 'data'
        this.#take(damage)
      }
      if (this.#lacksKey) return { needsIndex, unreachable: 0 }
      const objects = new ObjectCheck({ reader, findings: this.#findings, upTo, progress })
      try {
        for await (const damage of objects.run()) if (!(await this.#isAccepted(damage))) this.#report(damage)
        return { needsIndex, unreachable: await objects.unreachable() }
      } finally {
        objects.close()
      }
    } catch (error) {
      this.#takeFailure(error)
      return { needsIndex: true, unreachable: 0 }
    } finally {
      reader.close()
    }
  }

  #verified(): VerifiedBytes | undefined {
    const { memory } = this.#database.checking
    if (memory === undefined) return undefined
    if (this.#options.restart === true || this.#options.repair) memory.clear()
    const begun = memory.begun()
    if (begun !== undefined) this.#options.onResumed?.(begun.position, begun.startedMs)
    return { from: begun?.position ?? 0, note: position => memory.note(position) }
  }

  /** To be called once the check has ended. */
  end(): void {
    if (this.#options.data) this.#database.checking.memory?.clear()
  }

  /** Checks the present filesystem, and repairs it if `store` is writable; resolves to the number of inodes. */
  async checkFileSystem(store: Store): Promise<number> {
    const reader = this.#database.checking.reader()
    try {
      const fileSystem = new FileSystemCheck({
        connection: await openPresent(store, reader),
        findings: this.#findings,
        report: this.#report,
        progress: this.#options.progress,
        reader,
      })
      try {
        await fileSystem.run()
        return fileSystem.count
      } finally {
        fileSystem.close()
      }
    } catch (error) {
      if (!store.readOnly) throw error
      this.#takeFailure(error)
      return 0
    } finally {
      reader.close()
    }
  }

  /** Reports losses that the check of the filesystem did not meet. */
  async reportUnnamed(): Promise<void> {
    for (const { oid, tid, reason, isCurrent } of this.#findings.unnamed())
      if (!(await this.#isAccepted({ oid, tid }))) {
        const isPast = !this.#lacksKey || !isCurrent
        this.#report({ kind: 'record', oid, tid, reason, ...(isPast && { past: true }) })
      }
  }

  async #isAccepted({ oid, tid }: { readonly oid?: Oid; readonly tid?: Tid }): Promise<boolean> {
    return oid !== undefined && tid !== undefined && (await this.#database.checking.isAccepted(oid, tid))
  }

  /** Reports an error that ends a part of the check as damage. */
  #takeFailure(error: unknown): void {
    // Damaged tables may have values of the wrong type or range.
    const isOdd = error instanceof TypeError || error instanceof RangeError
    if (!isOdd && !(error instanceof StoreError)) throw error
    const reason = isOdd
      ? `the check cannot continue: it found an impossible value (${error.message})`
      : error.message
    this.#report({ kind: 'structure', reason })
  }

  #take(damage: StorageDamage): void {
    const { kind, reason, oid, tid, isCurrent } = damage
    if (kind === 'structure' || kind === 'transaction') {
      const named = { kind, reason, ...(tid !== undefined && { tid }) }
      const repaired = 'the tables are rebuilt from intact rows'
      this.#report(this.#options.repair ? { ...named, repaired } : named)
    } else if (oid !== undefined && tid !== undefined)
      this.#findings.addLost({ ...damage, oid, tid }, isCurrent === true)
  }
}

/** A view of the present that a pack by another process keeps. */
async function openPresent(store: Store, reader: RevisionReader): Promise<Connection> {
  const read = store.readOnly ? readAheadStore(store, new ReadAhead(reader, TID_MAX)) : store
  for (;;) {
    const connection = await Connection.open(read, { cacheSizeBytes: CACHE_BYTES })
    if (store.readOnly) await store.capabilities.pinning?.pin([connection.at]).catch(() => false)
    // Otherwise a pack was faster: try again.
    if ((await store.isKept?.(connection.at)) !== false) return connection
  }
}
