/** `zblkfs merge DB NAME`: brings what a branch changed into its database. */
import { Command } from 'commander'
import { mergeBranch } from '../../core/database/merge.ts'
import type { MergePlan, MergeStep } from '../../core/merge/merge-step.ts'
import { decodedPath } from '../../core/printable.ts'
import { branchAt, branchPath } from '../../store/branches.ts'
import { servingMount } from '../../mount/daemon/serving-mount.ts'
import { withDatabase } from '../database.ts'
import { EXIT_FAILURE, UsageError } from '../failure.ts'
import { callMount } from '../find-mount.ts'
import { lineFormat } from '../line-format.ts'
import { paged } from '../pager.ts'
import { findTarget } from '../target.ts'

const SYNC_TIMEOUT_MS = 60_000

const NOTES = `
Files that only one of the two changed are merged, and files that both changed in different blocks of 4 KiB. The rest is listed as conflicts (C) and
left as it is in the database: copy what you want from the branch, and say --resolved. The merge is one transaction, which
'zblkfs undo' reverts. Exit code 1 means that there are conflicts.`

interface Options {
  readonly dryRun?: boolean
  readonly resolved?: boolean
  readonly json?: boolean
}

export function mergeCommand(): Command {
  return new Command('merge')
    .description('Merge a branch into its database.')
    .argument('<db|dir>', 'the database, or a mount of it')
    .argument('<name>', 'the branch; NAME/OTHER merges a branch of the branch NAME into that')
    .option('-n, --dry-run', 'list what would change, and the conflicts')
    .option('--resolved', 'the conflicts were resolved by hand: all that the branch has now counts as merged')
    .option('--json', 'print a line of JSON per change and conflict')
    .addHelpText('after', NOTES)
    .action(
      async (path: string, names: string, { dryRun = false, resolved = false, json = false }: Options) => {
        if (dryRun && resolved) throw new UsageError('--dry-run and --resolved exclude each other')
        const target = await findTarget(path, dryRun ? 'read' : 'change')
        const { database, name } = branchAt(target.database, names)
        const serving = await servingMount(branchPath(database, name))
        if (serving !== undefined) await callMount(serving, 'sync', {}, SYNC_TIMEOUT_MS)
        const plan = await withDatabase({ database, mount: undefined }, 'zblkfs merge', db =>
          mergeBranch(db, name, { isDryRun: dryRun, isResolved: resolved }),
        )
        try {
          await print(plan, json)
          if (plan.conflicts.length > 0 && !resolved) process.exitCode = EXIT_FAILURE
        } finally {
          plan.close()
        }
      },
    )
}

const MARKS = { create: 'A', link: 'A', move: 'R', remove: 'D', change: 'M' } as const

async function print({ steps, conflicts }: MergePlan, json: boolean): Promise<void> {
  const format = lineFormat({})
  const textOf = (step: MergeStep): string => {
    const from = step.kind === 'move' ? `${format.name(step.from)} -> ` : ''
    return `${MARKS[step.kind]}  ${from}${format.name(step.path)}`
  }
  await paged(async line => {
    for (const step of steps) if (!(await line(json ? asJson(step) : textOf(step)))) return
    for (const { path, reason } of conflicts) {
      const conflict = JSON.stringify({ kind: 'conflict', path: decodedPath(path), reason })
      if (!(await line(json ? conflict : `C  ${format.name(path)}: ${format.text(reason)}`))) return
    }
    if (steps.length === 0 && conflicts.length === 0 && !json) await line('there is nothing to merge')
  }, format)
}

const asJson = (step: MergeStep): string =>
  JSON.stringify({
    kind: step.kind,
    path: decodedPath(step.path),
    ...('from' in step && { from: decodedPath(step.from) }),
  })
