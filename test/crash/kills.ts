/**
 * Kills the daemon of a mount at random and targeted moments (in a commit, a checkpoint, a pack), while a random workload
 * runs on it, and checks the remaining state.
 *
 * Each operation is recorded with the hash of the whole tree after it. After the kill the
 * database is mounted again and its tree must be one of those states: not older than the last sync that returned, nor
 * newer than the operation in progress. fsck, which runs on the new mount, must report no problem. The next
 * round continues from there.
 *
 * A seed reproduces the operations and the delays, but not the exact moment of a kill.
 */
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { checkDatabase } from '../../core/check/check-database.ts'
import { describeDamage } from '../../core/check/damage.ts'
import { Random } from '../stress/random.ts'
import { KilledMount, type Aim } from './killed-mount.ts'
import { TreeModel, type Operation } from './tree-model.ts'
import { hashTree, nextOperation, perform, type Mix } from './workload.ts'

export interface KillOptions {
  readonly kills: number
  readonly seed: number
  /** A new database on a server; absent: a new file. */
  readonly db?: string
  /** Mount options besides those that vary. */
  readonly options?: readonly string[]
  /** Receives a message for each kill. */
  readonly log?: (line: string) => void
  /** Ends it early, after the current kill. */
  readonly signal?: AbortSignal
}

export interface KillResult {
  readonly kills: number
  readonly operations: number
  readonly syncs: number
  /** Lost operations, made after the last commit. */
  readonly lostOperations: number
  /** Kills after which unsynced operations were missing. */
  readonly killsWithLoss: number
  /** Kills during a commit, a checkpoint, a pack. */
  readonly inCommits: number
  readonly inCheckpoints: number
  readonly inPacks: number
}

interface Round {
  readonly operations: readonly Operation[]
  /** `[k]`: the tree after k operations; the last may not have happened. */
  readonly states: readonly bigint[]
  /** Number of operations covered by the last sync that returned. */
  readonly synced: number
  readonly syncs: number
}

const DELAY_MAX_MS = 700
/** Kills between two undisturbed packs: fsck reads the whole history after each kill. */
const KILLS_A_PACK = 20
/** Errors of a dead mount. */
const KILLED = ['ENOTCONN', 'ECONNABORTED', 'EIO', 'ENODEV', 'EINTR']
const MIXES: readonly Mix[] = ['all', 'data', 'names']
const AIMS: readonly Aim[] = ['anything', 'anything', 'commit', 'checkpoint', 'pack']

/** @throws Error with the seed and the kill, on lost or damaged data; the signal's reason. Unmounts in any case. */
export async function killRepeatedly(options: KillOptions): Promise<KillResult> {
  const scratch = await mkdtemp(join(tmpdir(), 'zblkfs-kills-'))
  const mount = new KilledMount(scratch, options.db)
  try {
    return await kill(mount, options)
  } finally {
    await mount.end()
    await mount.unmountDead()
    await rm(scratch, { recursive: true, force: true })
  }
}

async function kill(
  mount: KilledMount,
  { kills, seed, options = [], log, signal }: KillOptions,
): Promise<KillResult> {
  const random = new Random(seed)
  const total = { operations: 0, syncs: 0, lostOperations: 0, killsWithLoss: 0 }
  const fell = { inCommits: 0, inCheckpoints: 0, inPacks: 0 }
  let model = new TreeModel()
  await mount.start([...options, ...optionsOf(random)])
  for (let kill = 1; kill <= kills; kill++) {
    signal?.throwIfAborted()
    const round = await runUntilKilled(mount, model.clone(), random)
    const interrupted = await mount.interrupted()
    await Promise.all([
      mount.start([...options, ...optionsOf(random)]),
      checkNothingIsDamaged(mount.db, `seed ${seed}, kill ${kill}`),
    ])
    const found = await hashTree(mount.dir)
    // The latest match: an operation may be a no-op, or revert another.
    const kept = round.states.lastIndexOf(found)
    if (kept < round.synced)
      throw new Error(
        `seed ${seed}, kill ${kill}: the tree is ${kept < 0 ? 'not a state that existed' : `that after operation ${kept}`}, ` +
          `but ${round.synced} were synced and ${round.operations.length} begun: ${JSON.stringify(round.operations.slice(-20))}`,
      )
    for (const operation of round.operations.slice(0, kept)) model.apply(operation)
    const lost = Math.max(0, round.operations.length - 1 - kept)
    total.operations += round.operations.length
    total.syncs += round.syncs
    total.lostOperations += lost
    total.killsWithLoss += lost > 0 ? 1 : 0
    fell.inCommits += interrupted.commit ? 1 : 0
    fell.inCheckpoints += interrupted.checkpoint ? 1 : 0
    fell.inPacks += interrupted.pack ? 1 : 0
    const where = Object.entries(interrupted).flatMap(([what, is]) => (is ? [what] : []))
    log?.(
      `kill ${kill}: ${round.operations.length} operations, ${round.synced} synced, ${kept} kept` +
        (where.length > 0 ? `; in the middle of a ${where.join(' and a ')}` : ''),
    )
    model = model.clone()
    if (kill % KILLS_A_PACK === 0) await mount.pack()
  }
  return { kills, ...total, ...fell }
}

/** Small bounds and short intervals, for many commits and checkpoints. */
const optionsOf = (random: Random): string[] => [
  `commit_interval=${[20, 100, 1000][random.below(3)]}ms`,
  `dirty_size=${[1, 4, 64][random.below(3)]}M`,
]

async function runUntilKilled(mount: KilledMount, model: TreeModel, random: Random): Promise<Round> {
  const operations: Operation[] = []
  const states = [model.hash]
  let synced = 0
  let syncs = 0
  const aim = AIMS[random.below(AIMS.length)] ?? 'anything'
  const killed = mount.kill(aim, random.below(DELAY_MAX_MS))
  // Each round has a separate random stream, so that its progress does not affect the next.
  const stream = new Random(random.below(2 ** 32))
  const mix = MIXES[random.below(MIXES.length)] ?? 'all'
  for (;;) {
    const operation = nextOperation(model, stream, mix)
    operations.push(operation)
    model.apply(operation)
    states.push(model.hash)
    try {
      await perform(mount.dir, operation)
    } catch (error) {
      if (!(error instanceof Error && 'code' in error && KILLED.includes(String(error.code)))) throw error
      // An operation may fail before the kill has resolved.
      await killed
      break
    }
    if (operation.kind !== 'sync') continue
    synced = operations.length
    syncs++
  }
  await mount.unmountDead()
  return { operations, states, synced, syncs }
}

async function checkNothingIsDamaged(database: string, what: string): Promise<void> {
  const damages: string[] = []
  const report = (damage: Parameters<typeof describeDamage>[0]): void =>
    void damages.push(describeDamage(damage))
  await checkDatabase(database, { data: true, repair: false, report, progress: () => undefined })
  if (damages.length > 0) throw new Error(`${what}: fsck finds ${damages.slice(0, 5).join('; ')}`)
}
