/** Commands that show a path of a database, a mount or a foreign database at a moment, without a mount. */
import { Command } from 'commander'
import type { Tid } from '../../store/ids.ts'
import type { Store } from '../../store/store.ts'
import type { LineOptions } from '../line-format.ts'
import { findSource, momentOf, withAnyStore } from '../history-source.ts'

interface Options extends LineOptions {
  readonly at?: string
}

export function atMoment(
  name: string,
  description: string,
  show: (store: Store, tid: Tid, path: string, options: LineOptions) => Promise<void>,
): Command {
  return new Command(name)
    .description(description)
    .argument('<db|dir>', 'a database, a mount, or a path in a mount')
    .argument('[path]', 'a path in it')
    .option('--at <when>', 'the moment: a tid, a time, an age, or a tag (default: that of the path, or now)')
    .action(async (place: string, inner: string | undefined, { at, ...options }: Options) => {
      const { database, path, moment } = await findSource(place, inner)
      await withAnyStore(database, async store => {
        await show(store, await momentOf(store, at ?? moment ?? 'now'), path, options)
      })
    })
}
