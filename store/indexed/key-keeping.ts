/** Encrypting (store/encryption.ts) as a note of an index. */
import type { Encrypting, KeyCopy, Secret, SlotInfo } from '../encryption.ts'
import {
  ENCRYPTION,
  formatKeySlots,
  type KeySlot,
  type KeySlots,
  parseKeySlots,
  sealSlot,
  SLOTS_MAX,
} from '../encryption/key-slots.ts'
import type { MasterKey } from '../encryption/keys.ts'
import type { Access } from '../encryption/seals.ts'
import { StoreError } from '../errors.ts'
import type { Notes } from './retaining.ts'

export class KeyKeeping implements Encrypting {
  readonly hasKey: boolean
  readonly #notes: Notes
  readonly #master: MasterKey | undefined

  /** @param access not undefined: of an encrypted database. */
  constructor(notes: Notes, access: Exclude<Access, undefined>) {
    this.#notes = notes
    this.#master = access === 'keyless' ? undefined : access
    this.hasKey = this.#master !== undefined
  }

  async slots(): Promise<readonly SlotInfo[]> {
    return (await this.#read()).slots.map(({ name, kdf }) => ({ name, kdf }))
  }

  async copy(): Promise<KeyCopy> {
    return { note: formatKeySlots(await this.#read()), master: this.#key() }
  }

  async addSlot(name: string, secret: Secret): Promise<void> {
    const { slots } = await this.#read()
    if (slots.some(slot => slot.name === name))
      throw new StoreError(`there is a key slot '${name}' already`, { code: 'usage' })
    if (slots.length === SLOTS_MAX)
      throw new StoreError(`there are ${SLOTS_MAX} key slots already`, { code: 'usage' })
    await this.#write([...slots, await this.#seal(name, secret)])
  }

  async changeSlot(name: string, secret: Secret): Promise<void> {
    const { slots } = await this.#read()
    assertThere(slots, name)
    const changed = await this.#seal(name, secret)
    await this.#write(slots.map(slot => (slot.name === name ? changed : slot)))
  }

  async removeSlot(name: string): Promise<void> {
    const { slots } = await this.#read()
    assertThere(slots, name)
    if (slots.length === 1)
      throw new StoreError(`'${name}' is the only key slot: without it, nothing could be read again`, {
        code: 'usage',
      })
    await this.#write(slots.filter(slot => slot.name !== name))
  }

  async #read(): Promise<KeySlots> {
    return parseKeySlots((await this.#notes.note(ENCRYPTION)) ?? '')
  }

  async #write(slots: readonly KeySlot[]): Promise<void> {
    await this.#notes.setNote(ENCRYPTION, formatKeySlots({ ...(await this.#read()), slots }))
  }

  async #seal(name: string, secret: Secret): Promise<KeySlot> {
    return await sealSlot(name, secret, this.#key())
  }

  #key(): MasterKey {
    if (this.#master === undefined)
      throw new StoreError('the database is encrypted, and no key was given', { code: 'key-needed' })
    return this.#master
  }
}

function assertThere(slots: readonly KeySlot[], name: string): void {
  if (slots.some(slot => slot.name === name)) return
  const names = slots.map(slot => `'${slot.name}'`).join(', ')
  throw new StoreError(`there is no key slot '${name}': there are ${names}`, { code: 'usage' })
}

/** The capability of a store; undefined if its database is not encrypted. */
export const keyKeepingOf = (notes: Notes, access: Access): KeyKeeping | undefined =>
  access === undefined ? undefined : new KeyKeeping(notes, access)
