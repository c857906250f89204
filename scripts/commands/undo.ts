/** `zblkfs undo TID [LAST]`: reverts transactions with a new one. */
import { Command } from 'commander'
import { withDatabase } from '../database.ts'
import { findSource } from '../history-source.ts'
import { databaseOption, type DatabaseOption } from './database-option.ts'

export function undoCommand(): Command {
  return new Command('undo')
    .description(
      'Revert a transaction, or several in a row, with a new one. Fails if later changes conflict.',
    )
    .argument('<tid>', 'the transaction, as zblkfs log shows it')
    .argument('[last]', 'revert all transactions from <tid> to this one')
    .addOption(databaseOption())
    .action(async (tid: string, last: string | undefined, { db = '.' }: DatabaseOption) => {
      const source = await findSource(db, '', 'change')
      const undoing = await withDatabase(source, 'zblkfs undo', database =>
        database.undo(tid, { upTo: last ?? tid }),
      )
      console.log(`${last === undefined ? tid : `${tid} to ${last}`} is undone by ${undoing}`)
    })
}
