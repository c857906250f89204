/**
 * Replaying the intent log after a crash: the same operations run again, before any other, and become one transaction. What
 * an operation derives from the clock or the caller comes from the intent. Nothing is committed before all are replayed,
 * because a commit invalidates the log.
 */
import type { Logger } from 'pino'
import { ObjectNotFoundError } from '../../../store/errors.ts'
import type { Intents } from '../../../store/capabilities.ts'
import { oid } from '../../../store/ids.ts'
import type { Clock } from '../clock.ts'
import type { Context } from '../context.ts'
import { ErrnoError } from '../errno.ts'
import { INO_SPAN } from '../inodes/tree.ts'
import { copy } from '../operations/copy.ts'
import { createAgain } from '../operations/create.ts'
import { write } from '../operations/io.ts'
import { link } from '../operations/link.ts'
import { forget } from '../operations/lookup.ts'
import { rename } from '../operations/rename.ts'
import { rmdir, unlink } from '../operations/remove.ts'
import { setattr } from '../operations/setattr.ts'
import { allocate } from '../operations/space.ts'
import { removexattr, setxattr } from '../operations/xattr.ts'
import { fh, type Ino } from '../operations.ts'
import type { Intent } from './intent.ts'
import { intentsOf } from './intent-codec.ts'

/** A clock that can be set, for replayed operations. */
export class ReplayClock {
  readonly #clock: Clock
  #fixedNs: bigint | undefined

  constructor(clock: Clock) {
    this.#clock = clock
  }

  readonly now: Clock = () => this.#fixedNs ?? this.#clock()

  /** Sets the time; undefined follows the real clock. */
  set(timeNs: bigint | undefined): void {
    this.#fixedNs = timeNs
  }
}

/** Replays the changes that are in no transaction. Resolves to whether there were any; the caller commits. */
export async function replayIntents(
  log: Intents,
  context: Context,
  clock: ReplayClock,
  logger: Logger,
): Promise<boolean> {
  const { entries, isDamaged } = await log.read()
  const intents = entries.flatMap(entry => [...intentsOf(entry)])
  if (isDamaged)
    logger.error(
      { entries: entries.length },
      'the intent log is damaged: synced changes after these entries are lost',
    )
  if (intents.length === 0) return false
  await context.live.connection.passOid(oid(lastCreated(intents)))
  await context.writeBack.replaying(async () => {
    try {
      for (const intent of intents) {
        clock.set(intent.timeNs)
        await replay(context, intent).catch((error: unknown) => {
          if (!(error instanceof ErrnoError || error instanceof ObjectNotFoundError)) throw error
          logger.warn({ err: error, kind: intent.kind }, 'a synced change could not be replayed')
        })
      }
    } finally {
      clock.set(undefined)
    }
  })
  logger.info(
    { entries: entries.length, changes: intents.length },
    'synced changes were replayed after a crash',
  )
  return true
}

/** The highest inode number that was given to a new inode. */
function lastCreated(intents: readonly Intent[]): number {
  let last = 0
  for (const intent of intents)
    if (intent.kind === 'create' && intent.ino < INO_SPAN) last = Math.max(last, intent.ino)
  return last
}

const keeps = (): boolean => true

async function replay(context: Context, intent: Intent): Promise<void> {
  switch (intent.kind) {
    case 'write':
      if (await isNamed(context, intent.ino)) await write(context, intent.ino, intent.off, intent.data, keeps)
      return
    case 'create':
      forget(context, (await createAgain(context, intent)).attributes.ino, 1)
      return
    case 'remove':
      return await (intent.isDirectory ? rmdir : unlink)(context, intent.parent, intent.name)
    case 'rename': {
      const { parent, name, newParent, newName, isExchange } = intent
      return await rename(
        context,
        { parent, name },
        { parent: newParent, name: newName },
        { exchange: isExchange },
        NO_CALLER,
      )
    }
    case 'link':
      forget(context, (await link(context, intent.ino, intent.parent, intent.name)).attributes.ino, 1)
      return
    case 'setattr':
      if (await isNamed(context, intent.ino)) await setattr(context, intent.ino, intent.set)
      return
    case 'setxattr':
      if (await isNamed(context, intent.ino))
        await setxattr(context, intent.ino, intent.name, intent.value, 0)
      return
    case 'removexattr':
      if (await isNamed(context, intent.ino)) await removexattr(context, intent.ino, intent.name)
      return
    case 'allocate': {
      const { ino, off, len, mode } = intent
      if (await isNamed(context, ino)) await allocate(context, ino, mode, { off, len }, keeps, anyRoom)
      return
    }
    case 'copy': {
      const [from, to] = [
        { ino: intent.from, fh: NO_HANDLE, off: intent.fromOff },
        { ino: intent.to, fh: NO_HANDLE, off: intent.toOff },
      ]
      if ((await isNamed(context, intent.from)) && (await isNamed(context, intent.to)))
        await copy(context, from, to, intent.len, keeps)
    }
  }
}

const NO_HANDLE = fh(-1)
/** Only a whiteout has the caller as its owner, and none is replayed. */
const NO_CALLER = { uid: 0, gid: 0, pid: 0 }
const anyRoom = (): Promise<number> => Promise.resolve(Number.MAX_SAFE_INTEGER)

/** Whether an inode has a name: the data of a nameless one was lost with the process that had it open. */
async function isNamed(context: Context, ino: Ino): Promise<boolean> {
  return await context.look(ino, (_node, inode) => inode.nlink > 0)
}
