/**
 * Changes the bytes of a database one at a time and reads it after each. For every byte
 *
 * - reading the whole filesystem, now and at each moment of the past, gives what was written or an error, and
 * - fsck finds something, unless every read gives what was written: then the byte is unused.
 */
import { readFile, writeFile } from 'node:fs/promises'
import { checkDatabase } from '../../../core/check/check-database.ts'
import type { Damage } from '../../../core/check/damage.ts'
import { FileSystem } from '../../../core/file-system/file-system.ts'
import { StoreError } from '../../../store/errors.ts'
import { formatTid } from '../../../store/ids.ts'
import { segmentPath } from '../../../store/segment-files/log-layout.ts'
import { logDirectory } from '../../../store/sqlite/log.ts'
import { openSqliteStore } from '../../../store/sqlite/open/open-sqlite-store.ts'
import type { Random } from '../../stress/random.ts'
import { copyDatabase } from '../../tools/database-files.ts'
import { Paths } from '../../tools/paths.ts'
import { FAILED, readTree } from './small-database.ts'

/** What a database holds: all trees by moment, '' being the present. */
type Trees = ReadonlyMap<string, ReadonlyMap<string, string>>

export interface FlipOutcome {
  readonly at: number
  readonly mask: number
  /** Wrong content that was served. */
  readonly wrong: readonly string[]
  /** Reads that failed. */
  readonly failed: readonly string[]
  readonly damages: readonly Damage[]
}

export class Flips {
  /** The SQLite file, then the log's. */
  readonly #original: readonly Buffer[]
  readonly #damaged: string
  readonly #expected: Trees
  readonly #moments: readonly string[]

  private constructor(original: readonly Buffer[], damaged: string, expected: Trees) {
    this.#original = original
    this.#damaged = damaged
    this.#expected = expected
    this.#moments = [...expected.keys()]
  }

  /** @param path a database that is not open. @param damaged the directory for the copies. */
  static async of(path: string, damaged: string): Promise<Flips> {
    const store = await openSqliteStore(path, { readOnly: true })
    const moments = ['']
    for await (const { tid } of store.transactions()) moments.push(formatTid(tid))
    await store.close()
    const original = [await readFile(path), await readFile(segmentPath(logDirectory(path), 0))]
    await copyDatabase(path, damaged)
    return new Flips(original, damaged, await readAll(path, moments))
  }

  get size(): number {
    return this.#original.reduce((size, file) => size + file.length, 0)
  }

  isZero(at: number): boolean {
    const { file, off } = this.#locate(at)
    return file[off] === 0
  }

  /** Changes the byte at `at` in a copy. */
  async flip(at: number, mask: number): Promise<FlipOutcome> {
    const { file, off, path } = this.#locate(at)
    const bytes = Buffer.from(file)
    bytes[off] = (bytes[off] ?? 0) ^ mask
    await writeFile(path, bytes)
    const outcome = await this.#look(at, mask)
    await writeFile(path, file)
    return outcome
  }

  #locate(at: number): { readonly file: Buffer; readonly off: number; readonly path: string } {
    const [database = Buffer.of(), segment = Buffer.of()] = this.#original
    if (at < database.length) return { file: database, off: at, path: this.#damaged }
    return { file: segment, off: at - database.length, path: segmentPath(logDirectory(this.#damaged), 0) }
  }

  async #look(at: number, mask: number): Promise<FlipOutcome> {
    const wrong: string[] = []
    const failed: string[] = []
    const found = await readAll(this.#damaged, this.#moments)
    for (const [moment, tree] of this.#expected)
      compare(moment, tree, found.get(moment) ?? new Map(), wrong, failed)
    return { at, mask, wrong, failed, damages: await check(this.#damaged) }
  }
}

/** Whether an outcome meets both conditions. */
export const isSafe = ({ wrong, failed, damages }: FlipOutcome): boolean =>
  wrong.length === 0 && (failed.length === 0 || damages.length > 0)

/** A mask that changes one bit, or several. */
export const randomMask = (random: Random): number =>
  random.below(2) === 0 ? 1 << random.below(8) : 1 + random.below(255)

async function check(path: string): Promise<Damage[]> {
  const damages: Damage[] = []
  const report = (damage: Damage): void => void damages.push(damage)
  try {
    await checkDatabase(path, { data: true, repair: false, report, progress: () => undefined })
  } catch (error) {
    if (!(error instanceof StoreError)) throw error
    damages.push({ kind: 'structure', reason: error.message })
  }
  return damages
}

async function readAll(path: string, moments: readonly string[]): Promise<Trees> {
  const trees = new Map<string, ReadonlyMap<string, string>>()
  for (const moment of moments) {
    try {
      const store = await openSqliteStore(path, { readOnly: true })
      try {
        const fs = await FileSystem.open(store, moment === '' ? {} : { at: moment })
        trees.set(moment, await readTree(new Paths(fs)))
      } finally {
        await store.close()
      }
    } catch (error) {
      if (!(error instanceof StoreError)) throw error
      trees.set(moment, new Map([['', `${FAILED}${error.message}`]]))
    }
  }
  return trees
}

function compare(
  moment: string,
  expected: ReadonlyMap<string, string>,
  found: ReadonlyMap<string, string>,
  wrong: string[],
  failed: string[],
): void {
  const failures = [...found].filter(([, content]) => content.startsWith(FAILED)).map(([path]) => path)
  for (const path of failures) failed.push(`${moment}:${path}`)
  for (const [path, content] of expected) {
    const seen = found.get(path)
    if (seen === content) continue
    if (seen?.startsWith(FAILED) === true) continue
    // What lies below a directory that cannot be read is not seen.
    if (seen === undefined && failures.some(above => path === above || path.startsWith(`${above}/`))) continue
    wrong.push(`${moment}:${path}: ${seen ?? 'is not there'}`)
  }
  for (const path of found.keys())
    if (!expected.has(path) && !failures.includes(path)) wrong.push(`${moment}:${path}: was never there`)
}
