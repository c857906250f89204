/** `zblkfs clone SRC DST`: an independent copy that shares all bytes. */
import { Command } from 'commander'
import { storedPath, textOfStored } from '../../core/stored-names.ts'
import { withDatabase } from '../database.ts'
import { assertPresent, assertSameDatabase, findSource } from '../history-source.ts'
import { databaseOption, type DatabaseOption } from './database-option.ts'
import { say } from '../say.ts'

export function cloneCommand(): Command {
  return new Command('clone')
    .description('Make an independent copy of a file or directory, which shares its data.')
    .argument('<src>', 'a path in a mount; with --db, a path in the database')
    .argument('<dst>', 'a path that does not exist, or a directory')
    .addOption(databaseOption())
    .action(async (src: string, dst: string, { db }: DatabaseOption) => {
      const source = db === undefined ? await findSource(src) : await findSource(db, src, 'change')
      const target =
        db === undefined
          ? await findSource(dst, '', 'change')
          : { database: source.database, mount: source.mount, path: storedPath(dst) }
      assertSameDatabase([src, source], [dst, target])
      assertPresent(dst, target)
      const at = source.moment === undefined ? {} : { at: source.moment }
      const tid = await withDatabase(target, 'zblkfs clone', database =>
        database.clone(textOfStored(source.path), textOfStored(target.path), at),
      )
      say(`${src} is cloned to ${dst} (transaction ${tid})`)
    })
}
