/**
 * Kills the daemon of a mount at random moments, and at such as are aimed at (in a commit, a checkpoint, a pack), while a random workload runs on it, and looks at what is left.
 *
 * What was done is recorded operation by operation, with the hash of the whole tree after each. After the kill the
 * database is mounted again and its tree must be one of those states: not older than the last sync that returned, nor
 * newer than the operation that was under way. fsck, which runs while it is mounted again, must find nothing. The next
 * round goes on from there.
 *
 * A seed repeats the operations and the delays; when exactly the kill comes is up to the machine.
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
  /** Is told about each kill. */
  readonly log?: (line: string) => void
}

export interface KillResult {
  readonly kills: number
  readonly operations: number
  readonly syncs: number
  /** Operations that were done after the last commit, and are gone. */
  readonly lostOperations: number
  /** Kills after which something that no sync had covered was missing: those in the middle of things. */
  readonly killsWithLoss: number
  /** Kills in the middle of a commit, a checkpoint, a pack. */
  readonly inCommits: number
  readonly inCheckpoints: number
  readonly inPacks: number
}

interface Round {
  readonly operations: readonly Operation[]
  /** The tree after so many operations; the last may not have happened. */
  readonly states: readonly bigint[]
  /** How many operations the last sync that returned covers. */
  readonly synced: number
  readonly syncs: number
}

const DELAY_MAX_MS = 700
/** After so many a pack is left in peace: fsck reads all of the history after each. */
const KILLS_A_PACK = 20
/** The dead mount answers with one of these. */
const KILLED = ['ENOTCONN', 'ECONNABORTED', 'EIO', 'ENODEV', 'EINTR']
const MIXES: readonly Mix[] = ['all', 'data', 'names']
const AIMS: readonly Aim[] = ['anything', 'anything', 'commit', 'checkpoint', 'pack']

/** @throws Error that names the seed and the kill where something was lost or damaged. */
export async function killRepeatedly({ kills, seed, log }: KillOptions): Promise<KillResult> {
  const scratch = await mkdtemp(join(tmpdir(), 'zblkfs-kills-'))
  const mount = new KilledMount(scratch)
  try {
    return await kill(mount, kills, seed, log)
  } finally {
    await mount.end()
    await mount.takeAway()
    await rm(scratch, { recursive: true, force: true })
  }
}

async function kill(
  mount: KilledMount,
  kills: number,
  seed: number,
  log: KillOptions['log'],
): Promise<KillResult> {
  const random = new Random(seed)
  const total = { operations: 0, syncs: 0, lostOperations: 0, killsWithLoss: 0 }
  const fell = { inCommits: 0, inCheckpoints: 0, inPacks: 0 }
  let model = new TreeModel()
  await mount.start(optionsOf(random))
  for (let kill = 1; kill <= kills; kill++) {
    const round = await runUntilKilled(mount, model.clone(), random)
    const interrupted = await mount.interrupted()
    await Promise.all([
      mount.start(optionsOf(random)),
      checkNothingIsDamaged(mount.db, `seed ${seed}, kill ${kill}`),
    ])
    const found = await hashTree(mount.dir)
    // The latest: an operation may change nothing, or back what another did.
    const kept = round.states.lastIndexOf(found)
    if (kept < round.synced)
      throw new Error(
        `seed ${seed}, kill ${kill}: the tree is ${kept < 0 ? 'none that there was' : `that after operation ${kept}`}, ` +
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

/** Small bounds and short times, so that many commits and checkpoints are under way. */
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
  // Each round has a stream of its own: how far it comes does not change the next.
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
      // An operation may learn of the kill before those who did it.
      await killed
      break
    }
    if (operation.kind !== 'sync') continue
    synced = operations.length
    syncs++
  }
  await mount.takeAway()
  return { operations, states, synced, syncs }
}

async function checkNothingIsDamaged(database: string, what: string): Promise<void> {
  const damages: string[] = []
  const report = (damage: Parameters<typeof describeDamage>[0]): void =>
    void damages.push(describeDamage(damage))
  await checkDatabase(database, { data: true, repair: false, report, progress: () => undefined })
  if (damages.length > 0) throw new Error(`${what}: fsck finds ${damages.slice(0, 5).join('; ')}`)
}
