/** `zblkfs web DB|DIR`: a page in the browser that shows a database's history and files. */
import { once } from 'node:events'
import { Command } from 'commander'
import { open } from '../../index.ts'
import { openStore } from '../../store/open-store.ts'
import { CommandError, UsageError } from '../failure.ts'
import { say, warn } from '../say.ts'
import { findTarget } from '../target.ts'
import { Api } from '../web/api.ts'
import { serveWeb } from '../web/server.ts'

const PORT_MAX = 65_535

const NOTES = `
The page is served on 127.0.0.1 until the command ends (Ctrl-C). The URL contains a secret: anyone who has it can read the database,
and change it through the page. On another machine, forward the port: ssh -L PORT:127.0.0.1:PORT HOST.`

export function webCommand(): Command {
  return new Command('web')
    .description('Show the history and the files of a database in a browser.')
    .argument('<db|dir>', 'a database, or a mount of it')
    .option('--port <number>', 'the port on 127.0.0.1 (default: a free one)')
    .addHelpText('after', NOTES)
    .action(async (path: string, { port }: { readonly port?: string }) => {
      const number = portOf(port ?? '0')
      // The page can change it.
      const { database } = await findTarget(path, 'change')
      const store = await openStore(database, { readOnly: true, warn })
      try {
        if (store.isForeign)
          throw new UsageError(`${database} is a ZODB database: 'zblkfs web' shows zblkfs databases`)
        await using db = await open(database, { readOnly: true })
        await serve(new Api(store, db), number)
      } finally {
        await store.close()
      }
    })
}

async function serve(api: Api, port: number): Promise<void> {
  const server = await serveWeb(api, port).catch((error: unknown) => {
    throw new CommandError(`port ${port} cannot be used: ${String(error)}`)
  })
  say(server.url)
  const signals = ['SIGINT', 'SIGTERM', 'SIGHUP'].map(signal => once(process, signal))
  await Promise.race(signals)
  await server.close()
}

/** @throws UsageError */
function portOf(text: string): number {
  const port = Number(text)
  if (!/^\d+$/.test(text) || port > PORT_MAX)
    throw new UsageError(`'${text}' is not a port: it must be a number up to ${PORT_MAX}`)
  return port
}
