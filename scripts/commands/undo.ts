/** `zblkfs undo TID`: reverts a transaction with a new one. */
import { Command } from 'commander'
import { withDatabase } from '../database.ts'
import { findSource } from '../history-source.ts'
import { databaseOption, type DatabaseOption } from './database-option.ts'

export function undoCommand(): Command {
  return new Command('undo')
    .description('Revert a transaction with a new one. Fails if later changes conflict.')
    .argument('<tid>', 'the transaction, as zblkfs log shows it')
    .addOption(databaseOption())
    .action(async (tid: string, { db = '.' }: DatabaseOption) => {
      const undoing = await withDatabase(await findSource(db), 'zblkfs undo', database => database.undo(tid))
      console.log(`${tid} is undone by ${undoing}`)
    })
}
