/** `zblkfs undo TID`: takes a transaction back by a new one. */
import { Command } from 'commander'
import { change } from '../history-changes.ts'
import { findSource } from '../history-source.ts'
import { databaseOption, type DatabaseOption } from './database-option.ts'

export function undoCommand(): Command {
  return new Command('undo')
    .description('Take a transaction back by a new one; refused where later changes stand in the way.')
    .argument('<tid>', 'the transaction, as zblkfs log shows it')
    .addOption(databaseOption())
    .action(async (tid: string, { db = '.' }: DatabaseOption) => {
      const { tid: undoing } = await change(await findSource(db), 'undo', { tid })
      console.log(`${tid} is undone by ${undoing}`)
    })
}
