/** `zblkfs history DB|DIR [--keep TIME|all|0]`: shows and sets how long a database keeps its history. */
import { printable } from '../../core/printable.ts'
import { Command } from 'commander'
import { openDatabase } from '../../store/open-store.ts'
import { DEFAULT_RETENTION, formatRetention, type Retention } from '../../store/retention.ts'
import type { Store } from '../../store/store.ts'
import { CommandError } from '../failure.ts'
import { callMount } from '../find-mount.ts'
import { withStore } from '../history-source.ts'
import { describeRetention, retention } from '../retention.ts'
import { findTarget, type Target } from '../target.ts'

const CALL_TIMEOUT_MS = 60_000

interface Options {
  readonly keep?: string
  readonly json?: boolean
}

export function historyCommand(): Command {
  return new Command('history')
    .description('Show or set how long a database keeps its history.')
    .argument('<db|dir>', 'the database, or a mount of it')
    .option(
      '--keep <time>',
      'keep this much: 7d, 12h, ...; all; 0 for only the present; or a schedule: all=7d,daily=30d,weekly=1y',
    )
    .option('--json', 'print JSON')
    .addHelpText(
      'after',
      '\nThe setting is stored in the database. Background packs, and packs without --keep, obey it.' +
        '\nNothing is dropped at once. Tags are always kept. A schedule keeps all moments for a time, then the last one of each hour, day,' +
        '\nweek, month or year (hourly=, daily=, weekly=, monthly=, yearly=).',
    )
    .action(async (path: string, { keep, json = false }: Options) => {
      const target = await findTarget(path, keep === undefined ? 'read' : 'change')
      if (keep !== undefined) await set(target, retention(`--keep ${keep}`, keep))
      const found = await withStore(target.database, retentionOf)
      const history = found ?? DEFAULT_RETENTION
      console.log(
        json
          ? JSON.stringify({ history: formatRetention(history), isDefault: found === undefined })
          : `${printable(target.database)}: ${describeRetention(history)}${found === undefined ? ' (the default)' : ''}`,
      )
    })
}

async function set({ database, mount }: Target, wanted: Retention): Promise<void> {
  if (mount !== undefined) {
    await callMount(mount, 'history', { keep: formatRetention(wanted) }, CALL_TIMEOUT_MS)
    return
  }
  const store = await openDatabase(database, { purpose: 'zblkfs history' })
  try {
    await store.capabilities.retaining?.setRetention(wanted)
  } finally {
    await store.close()
  }
}

/** @throws CommandError for a store without retention. */
async function retentionOf({ name, capabilities }: Store): Promise<Retention | undefined> {
  if (capabilities.branch !== undefined)
    throw new CommandError(`${printable(name)} is a branch, which keeps its history until it is deleted`, {
      code: 'not-on-branch',
    })
  if (capabilities.retaining === undefined)
    throw new CommandError(`${printable(name)} has no retention of its own`)
  return await capabilities.retaining.retention()
}
