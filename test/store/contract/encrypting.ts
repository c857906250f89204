/** `Encrypting` (store/encryption.ts) as tests. */
import { describe, expect, test } from 'vitest'
import type { Secret } from '../../../store/encryption.ts'
import { OpenedDatabase, type MakeDatabase } from './opened-database.ts'

const secret = (text: string): Secret => ({ kind: 'file', bytes: Buffer.alloc(32, text) })

export function encryptingContract(name: string, make: MakeDatabase): void {
  describe(`${name}, encrypting`, () => {
    const opened = new OpenedDatabase(make)

    test('slots are added, changed and removed, and the data stays legible', async () => {
      const { oid } = await opened.add(Buffer.from('a record'))
      const encrypting = opened.offered('encrypting')
      const [first] = await encrypting.slots()
      await encrypting.addSlot('second', secret('second'))
      await encrypting.changeSlot('second', secret('third'))
      expect((await encrypting.slots()).map(slot => slot.name)).toEqual([first?.name, 'second'])
      await expect(encrypting.addSlot('second', secret('x'))).rejects.toThrow("'second' already")
      await expect(encrypting.changeSlot('none', secret('x'))).rejects.toThrow("no key slot 'none'")
      await encrypting.removeSlot('second')
      await expect(encrypting.removeSlot(first?.name ?? '')).rejects.toThrow('the only key slot')
      await opened.store.close()
      await opened.reopen()
      expect(Buffer.from((await opened.loadOne(oid)) ?? [])).toEqual(Buffer.from('a record'))
    })

    test('a short key file is refused', async () => {
      const short = { kind: 'file', bytes: Buffer.alloc(31) } as const
      await expect(opened.offered('encrypting').addSlot('short', short)).rejects.toThrow('31 bytes')
    })
  })
}
