/** `zblkfs branch DB [NAME]`: lists, makes and deletes branches. */
import { Command } from 'commander'
import { branchesOf, deleteBranch, makeBranch, type BranchInfo } from '../../core/database/branches.ts'
import { formatTime } from '../../store/moments.ts'
import { withDatabase, withHistory } from '../database.ts'
import { UsageError } from '../failure.ts'
import { say } from '../say.ts'
import { findTarget, type Target } from '../target.ts'

const NOTES = `
A branch is a writable state that begins at a moment of the database, and takes only the space of what is changed in it. It is mounted with
'zblkfs mount DB DIR -o branch=NAME', also beside the database, and other commands take its path, which the list shows. The tag
branch:NAME keeps the moment at which it begins.`

interface Options {
  readonly at?: string
  readonly delete?: string
  readonly json?: boolean
}

export function branchCommand(): Command {
  return new Command('branch')
    .description('List, make or delete branches of a database.')
    .argument('<db|dir>', 'the database, or a mount of it')
    .argument('[name]', 'the branch to make')
    .option('--at <when>', 'the moment at which it begins: a tid, a time, an age, or a tag (default: now)')
    .option('-d, --delete <name>', 'delete a branch with everything that is only in it')
    .option('--json', 'print a line of JSON per branch')
    .addHelpText('after', NOTES)
    .action(async (path: string, name: string | undefined, { at, delete: deleted, json }: Options) => {
      if (name !== undefined && deleted !== undefined) throw new UsageError('name a branch, or use -d NAME')
      if (at !== undefined && name === undefined) throw new UsageError('--at is for a branch that is made')
      const target = await findTarget(path)
      if (deleted !== undefined)
        await change(target, async db => {
          await deleteBranch(db, deleted)
          say(`the branch ${deleted} is deleted`)
        })
      else if (name === undefined) await list(target, json === true)
      else
        await change(target, async db => {
          const tid = await makeBranch(db, name, at)
          say(`the branch ${name} begins at ${tid}`)
        })
    })
}

const change = ({ database, mount }: Target, use: Parameters<typeof withDatabase<void>>[2]): Promise<void> =>
  withDatabase({ database, mount }, 'zblkfs branch', use)

async function list({ database }: Target, json: boolean): Promise<void> {
  const branches = await withHistory(database, history => branchesOf(database, history.tags()))
  for (const branch of branches) say(json ? asJson(branch) : asText(branch))
}

const asJson = ({ name, path, base, isThere }: BranchInfo): string =>
  JSON.stringify({ name, path, ...(base !== undefined && { base: base.tid, time: base.time }), isThere })

function asText({ name, path, base, isThere }: BranchInfo): string {
  const begin = base === undefined ? 'its tag is missing' : `${base.tid}  ${formatTime(base.time.getTime())}`
  return `${name}  ${begin}  ${path}${isThere ? '' : ' (its files are missing)'}`
}
