/** `zblkfs key DB`: lists and changes the passphrases and key files that open an encrypted database. No data is rewritten. */
import { Command } from 'commander'
import type { Encrypting, Secret } from '../../store/encryption.ts'
import { openDatabase } from '../../store/open-store.ts'
import type { Store } from '../../store/store.ts'
import { CommandError, UsageError } from '../failure.ts'
import { keySourceOf } from '../key-source.ts'
import { say } from '../say.ts'
import { findTarget } from '../target.ts'

interface Options {
  readonly change?: string | true
  readonly add?: string
  readonly remove?: string
  readonly newKeyFile?: string
  readonly newKeyCommand?: string
  readonly json?: boolean
}

export function keyCommand(): Command {
  return new Command('key')
    .description('List or change the passphrases and key files that open an encrypted database.')
    .argument('<db|dir>', 'the database, or a mount of it; to be changed, it must not be mounted')
    .option('--change [slot]', 'replace a passphrase or key; name the slot if there are several')
    .option('--add <slot>', 'add another one, with this name')
    .option('--remove <slot>', 'remove one')
    .option('--new-key-file <file>', 'the new key file; by default a passphrase is asked for')
    .option('--new-key-command <command>', 'a command that prints the new passphrase or key')
    .option('--json', 'print the list as JSON')
    .addHelpText(
      'after',
      '\nThe data stays as it is: each slot has the same key, encrypted. An old copy of the database file can still be opened with what' +
        '\nopened it then.',
    )
    .action(async (path: string, options: Options) => {
      const wanted = [options.change, options.add, options.remove].filter(one => one !== undefined)
      if (wanted.length > 1) throw new UsageError('--change, --add and --remove exclude each other')
      const { database } = await findTarget(path, wanted.length === 0 ? 'read' : 'change')
      if (wanted.length === 0) await list(database, options.json === true)
      else await change(database, options)
    })
}

/** @throws CommandError for a database that is not encrypted. */
function encryptingOf({ name, capabilities }: Store): Encrypting {
  if (capabilities.encrypting === undefined) throw new CommandError(`${name} is not encrypted`)
  return capabilities.encrypting
}

async function list(database: string, asJson: boolean): Promise<void> {
  const store = await openDatabase(database, { readOnly: true, key: async () => undefined, mayLackKey: true })
  try {
    const slots = await encryptingOf(store).slots()
    if (asJson) console.log(JSON.stringify({ encryption: 'aes-256-gcm', slots }))
    else for (const { name, kdf } of slots) say(`${name}  (${kdf})`)
  } finally {
    await store.close()
  }
}

async function change(database: string, options: Options): Promise<void> {
  const { add, remove } = options
  const store = await openDatabase(database, { purpose: 'zblkfs key' })
  try {
    const encrypting = encryptingOf(store)
    if (remove !== undefined) {
      await encrypting.removeSlot(remove)
      say(`${database}: '${remove}' does not open it any more`)
    } else if (add !== undefined) {
      await encrypting.addSlot(add, await newSecret(database, options))
      say(`${database}: '${add}' opens it, too`)
    } else {
      const slot = await slotToChange(encrypting, options)
      await encrypting.changeSlot(slot, await newSecret(database, options))
      say(`${database}: '${slot}' is changed`)
    }
  } finally {
    await store.close()
  }
}

async function slotToChange(encrypting: Encrypting, { change: named }: Options): Promise<string> {
  if (typeof named === 'string') return named
  const [first, ...others] = await encrypting.slots()
  if (first !== undefined && others.length === 0) return first.name
  throw new UsageError("there are several key slots: name one, as 'zblkfs key DB' lists them")
}

async function newSecret(path: string, { newKeyFile, newKeyCommand }: Options): Promise<Secret> {
  const given = newKeyFile !== undefined || newKeyCommand !== undefined
  const source = keySourceOf(given ? { keyFile: newKeyFile, keyCommand: newKeyCommand } : { asks: true })
  const secret = await source({ path, isNew: true })
  if (secret === undefined)
    throw new CommandError('no new passphrase and no new key was given: use a terminal, or --new-key-file')
  return secret
}
