/**
 * The keys of a branch are those of its database: it has the id of the master key, but no slots. So a passphrase that was changed or
 * removed in the database does not open its branches any more.
 */
import type { Capabilities } from '../capabilities.ts'
import type { Encrypting, KeyCopy, SlotInfo } from '../encryption.ts'
import { ENCRYPTION, formatKeySlots, parseKeySlots } from '../encryption/key-slots.ts'
import { StoreError } from '../errors.ts'
import type { Notes } from '../indexed/retaining.ts'
import type { ReadableStore } from '../store.ts'

/** The capability of a branch; empty if its database is not encrypted. */
export const branchKeys = (
  name: string,
  { name: database, capabilities: { encrypting } }: Pick<ReadableStore, 'name' | 'capabilities'>,
): Pick<Capabilities, 'encrypting'> =>
  encrypting === undefined ? {} : { encrypting: new BranchKeys(name, database, encrypting) }

/** Reads the keys from the database, and refuses changes: they are made there. */
class BranchKeys implements Encrypting {
  readonly hasKey: boolean
  readonly #name: string
  readonly #database: string
  readonly #parent: Encrypting

  /** @param name the branch. @param parent of its database. */
  constructor(name: string, database: string, parent: Encrypting) {
    this.hasKey = parent.hasKey
    this.#name = name
    this.#database = database
    this.#parent = parent
  }

  slots(): Promise<readonly SlotInfo[]> {
    return this.#parent.slots()
  }

  copy(): Promise<KeyCopy> {
    return this.#parent.copy()
  }

  addSlot(): Promise<never> {
    return this.#refuse()
  }

  changeSlot(): Promise<never> {
    return this.#refuse()
  }

  removeSlot(): Promise<never> {
    return this.#refuse()
  }

  #refuse(): Promise<never> {
    return Promise.reject(
      new StoreError(`${this.#name} is a branch and has the keys of ${this.#database}: change them there`, {
        code: 'usage',
        path: this.#name,
      }),
    )
  }
}

/** The keys for a new branch. */
export const withoutSlots = ({ note, master }: KeyCopy): KeyCopy => ({
  note: formatKeySlots({ ...parseKeySlots(note), slots: [] }),
  master,
})

/** Removes the slots that branches of earlier versions have. */
export async function removeSlots(own: Notes): Promise<void> {
  const note = await own.note(ENCRYPTION)
  if (note === undefined) return
  const found = parseKeySlots(note)
  if (found.slots.length > 0) await own.setNote(ENCRYPTION, formatKeySlots({ ...found, slots: [] }))
}
