/** Encryption of a database on a server: without epochs, as its transactions discard what they do not commit, and no key of a segment is used twice. */
import type { Capabilities } from '../capabilities.ts'
import { Epochs } from '../encryption/epochs.ts'
import type { MasterKey } from '../encryption/keys.ts'
import { type Access, type Opener, openerOf, type Seals, sealsOf } from '../encryption/seals.ts'
import { keyKeepingOf } from '../indexed/key-keeping.ts'
import type { Notes } from '../indexed/retaining.ts'

const noEpochs = (): Epochs => new Epochs(() => [])

/** @param name the database's, for messages. */
export const openerFor = (access: Access, name: string): Opener | undefined =>
  openerOf(access, name, noEpochs)

export const sealsFor = (master: MasterKey): Seals => sealsOf(master, noEpochs())

export const encryptingOf = (notes: Notes, access: Access): Pick<Capabilities, 'encrypting'> => {
  const encrypting = keyKeepingOf(notes, access)
  return encrypting === undefined ? {} : { encrypting }
}
