/** `zblkfs branch DB [NAME]`: lists, makes and deletes branches. */
import { Command } from 'commander'
import { branchesOf, deleteBranch, makeBranch, type BranchInfo } from '../../core/database/branches.ts'
import type { Database } from '../../core/database/database.ts'
import { branchAt, branchNames } from '../../store/branches.ts'
import { formatTime } from '../../store/moments.ts'
import { withDatabase, withHistory } from '../database.ts'
import { UsageError } from '../failure.ts'
import { say } from '../say.ts'
import { findTarget } from '../target.ts'

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
    .argument('[name]', 'the branch to make; NAME/OTHER makes a branch of the branch NAME')
    .option('--at <when>', 'the moment at which it begins: a tid, a time, an age, or a tag (default: now)')
    .option('-d, --delete <name>', 'delete a branch with everything that is only in it')
    .option('--json', 'print a line of JSON per branch')
    .addHelpText('after', NOTES)
    .action(async (path: string, name: string | undefined, { at, delete: deleted, json }: Options) => {
      if (name !== undefined && deleted !== undefined) throw new UsageError('name a branch, or use -d NAME')
      if (at !== undefined && name === undefined) throw new UsageError('--at is for a branch that is made')
      const isChange = name !== undefined || deleted !== undefined
      const { database } = await findTarget(path, isChange ? 'change' : 'read')
      if (deleted !== undefined)
        await change(database, deleted, async (db, last) => {
          await deleteBranch(db, last)
          say(`the branch ${deleted} is deleted`)
        })
      else if (name === undefined) await list(database, json === true)
      else
        await change(database, name, async (db, last) => {
          const tid = await makeBranch(db, last, at)
          say(`the branch ${name} begins at ${tid}`)
        })
    })
}

/** Runs `use` with the database, or the branch, of which a name is a branch, and with the last part of the name. */
async function change(
  top: string,
  names: string,
  use: (db: Database, name: string) => Promise<void>,
): Promise<void> {
  const { database, name } = branchAt(top, names)
  await withDatabase({ database, mount: undefined }, 'zblkfs branch', db => use(db, name))
}

/** Lists the branches of a database, each followed by its own. */
async function list(database: string, json: boolean, prefix = ''): Promise<void> {
  const branches = await withHistory(database, history =>
    branchesOf(database, { branch: history.branch, tags: history.tags() }),
  )
  for (const branch of branches) {
    const named = { ...branch, name: `${prefix}${branch.name}` }
    say(json ? asJson(named) : asText(named))
    if (branch.isThere && (await branchNames(branch.path)).length > 0)
      await list(branch.path, json, `${named.name}/`)
  }
}

const asJson = ({ name, path, base, isThere }: BranchInfo): string =>
  JSON.stringify({ name, path, ...(base !== undefined && { base: base.tid, time: base.time }), isThere })

function asText({ name, path, base, isThere }: BranchInfo): string {
  const begin = base === undefined ? 'its tag is missing' : `${base.tid}  ${formatTime(base.time.getTime())}`
  return `${name}  ${begin}  ${path}${isThere ? '' : ' (its files are missing)'}`
}
