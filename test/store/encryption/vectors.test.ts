/** Test vectors: of AES-256-GCM, and those of docs/format.md, which a Python program made from that page with another library. */
import { randomBytes } from 'node:crypto'
import { describe, expect, test } from 'vitest'
import { openInto, SEAL_BYTES, sealInto } from '../../../store/encryption/aead.ts'
import { isAeadNative, nodeAead, openAead } from '../../../store/encryption/open-aead.ts'
import { type Epoch, Epochs } from '../../../store/encryption/epochs.ts'
import { formatKeySlots, openSlots, parseKeySlots, sealSlot } from '../../../store/encryption/key-slots.ts'
import { masterKeyOf, newMasterKey, subKeyBytes } from '../../../store/encryption/keys.ts'
import { sealsOf } from '../../../store/encryption/seals.ts'
import { oid, tid } from '../../../store/ids.ts'
import { BulkDamageError } from '../../../store/indexed/bulk.ts'
import { FRAME_BYTES, FrameDecoder } from '../../../store/indexed/frame-codec.ts'

const hex = (text: string): Buffer => Buffer.from(text.replaceAll(/\s/g, ''), 'hex')
const counted = (first: number, length: number): Buffer =>
  Buffer.from(Array.from({ length }, (_, i) => first + i))

describe.each([
  ['the library', openAead],
  ['node:crypto', nodeAead],
] as const)('AES-256-GCM of %s', (_, open) => {
  test("agrees with test case 16 of McGrew and Viega's specification", () => {
    const aead = open(hex('feffe9928665731c6d6a8f9467308308feffe9928665731c6d6a8f9467308308'))
    const plain = hex(
      `d9313225f88406e5a55909c5aff5269a86a7a9531534f7da2e4c303d8a318a72
       1c3c0c95956809532fcf0e2449a6b525b16aedf5aa0de657ba637b39`,
    )
    const [into, tag] = [Buffer.alloc(plain.length), Buffer.alloc(16)]
    const [nonce, aad] = [hex('cafebabefacedbaddecaf888'), hex('feedfacedeadbeeffeedfacedeadbeefabaddad2')]
    aead.encrypt(nonce, aad, plain, into, tag)
    expect(into).toEqual(
      hex(
        `522dc1f099567d07f47f37a32a84427d643a8cdcbfe5c0c97598a2bd2555d1aa
         8cb08e48590dbb3da7b08b1056828838c5f61e6393ba7a0abcc9f662`,
      ),
    )
    expect(tag).toEqual(hex('76fc6ece0f4e1768cddf8853bb2d551b'))
    const back = Buffer.alloc(plain.length)
    expect(aead.decrypt(nonce, aad, into, back, tag)).toBe(true)
    expect(back).toEqual(plain)
    tag[0]! ^= 1
    expect(aead.decrypt(nonce, aad, into, back, tag)).toBe(false)
  })

  test('opens what the other implementation has sealed, of every length', () => {
    const key = randomBytes(32)
    const [one, other] = [open(key), nodeAead(key)]
    for (const length of [0, 1, 15, 16, 17, 4096, 16_384]) {
      const [plain, aad] = [randomBytes(length), randomBytes(length % 50)]
      for (const [sealer, opener] of [
        [one, other],
        [other, one],
      ] as const) {
        const [sealed, back] = [Buffer.alloc(length + SEAL_BYTES), Buffer.alloc(length)]
        expect(sealInto(sealer, aad, plain, sealed)).toBe(sealed.length)
        expect(openInto(opener, aad, sealed, back)).toBe(true)
        expect(back).toEqual(plain)
      }
    }
  })
})

test("this build of Node has the library's functions", () => {
  expect(isAeadNative()).toBe(true)
})

describe('the examples of docs/format.md', () => {
  const master = masterKeyOf(counted(0, 16).toString('hex'), counted(0, 32))
  const epochs = (...known: Epoch[]): Epochs => new Epochs(() => known)
  const salt = counted(16, 16)
  const FRAME = hex(
    `e7843dedda496ced 0000010000000000 01010001 33000000
     a0a1a2a3a4a5a6a7a8a9aaab41e8af639f0e0d94ed74c096b1660d2c15c17f6793adf7cc2796f304a7df1034363ab586e548ea`,
  )

  test('a sub-key', () => {
    expect(subKeyBytes(master, 'zblkfs frame', Buffer.concat([salt, Buffer.alloc(4)])).toString('hex')).toBe(
      'fad88ddb9a59452d8ca567d8e8635accc7254d4e3019dbb1b97e55b4f855bcab',
    )
  })

  test('a frame', () => {
    const { frames } = sealsOf(master, epochs({ start: 0, salt }))
    const units = Buffer.alloc(FRAME_BYTES)
    expect(new FrameDecoder(frames).decode(65_536, FRAME, units)).toBe(4096)
    expect(units.subarray(0, 4096)).toEqual(Buffer.alloc(4096, 'zblkfs'))
    const later = sealsOf(master, epochs({ start: 0, salt }, { start: 65_536, salt: counted(1, 16) }))
    expect(() => new FrameDecoder(later.frames).decode(65_536, FRAME, units)).toThrow(BulkDamageError)
    expect(() => new FrameDecoder().decode(65_536, FRAME, units)).toThrow(BulkDamageError)
  })

  test('a row', () => {
    const { rows } = sealsOf(master, epochs())
    const row = { oid: oid(5), tid: tid(0x04_0d_47_6b_54_ae_37_6en), pos: null, len: 0, tail: null }
    const head = hex('a0a1a2a3a4a5a6a7a8a9aaab6fb8ea768c3366cfd446345a3ccd7eaadb2095509acb')
    expect(rows.open({ ...row, head }).head).toEqual(Buffer.from('a head'))
    expect(() => rows.open({ ...row, head, oid: oid(6) })).toThrow('not encrypted with the key')
  })
})

test('rows with a head and a tail, and texts, are sealed and opened', () => {
  const { rows } = sealsOf(newMasterKey(), new Epochs(() => []))
  const row = { oid: oid(5), tid: tid(1n << 50n), pos: 4096, len: 100, head: Buffer.from('head') }
  for (const tail of [null, Buffer.alloc(0), Buffer.from('a tail')]) {
    const sealed = rows.seal({ ...row, tail })
    expect(sealed.head?.length).toBe(row.head.length + rows.extraBytes)
    expect(sealed.tail?.length).toBe(tail?.length)
    expect(rows.open(sealed)).toEqual({ ...row, tail })
    expect(rows.seal({ ...row, tail }).head).not.toEqual(sealed.head)
  }
  const texts = { tid: row.tid, user: 'ada', description: 'odd \udc80', extension: Buffer.from('x') }
  const sealed = rows.sealTexts(texts)
  expect(sealed).toMatchObject({ user: '', description: '' })
  expect(rows.openTexts(sealed)).toEqual(texts)
})

test('a slot opens with its own secret alone, whatever kind it is of', async () => {
  const master = newMasterKey()
  const [file, phrase] = [Buffer.alloc(32, 'file'), Buffer.from('a passphrase')]
  const slots = [
    await sealSlot('phrase', { kind: 'passphrase', bytes: phrase }, master),
    await sealSlot('file', { kind: 'file', bytes: file }, master),
  ]
  const note = parseKeySlots(formatKeySlots({ cipher: 'aes-256-gcm', id: master.id, slots }))
  for (const [bytes, name] of [
    [file, 'file'],
    [phrase, 'phrase'],
  ] as const) {
    const found = await openSlots(note, { bytes })
    expect(found?.slot.name).toBe(name)
    expect(Buffer.from(new Uint8Array(found!.master.bytes))).toEqual(
      Buffer.from(new Uint8Array(master.bytes)),
    )
  }
  expect(await openSlots(note, { bytes: Buffer.from('another') })).toBeUndefined()
  // Of a note that was forged to use up the memory.
  const greedy = { ...note, slots: [{ ...note.slots[0]!, log2n: 40 }] }
  expect(await openSlots(greedy, { bytes: phrase })).toBeUndefined()
  expect(() => parseKeySlots('{"cipher":"rot13"}')).toThrow('the note of its keys is damaged')
})

test('an epoch that is not stored yet stays when the stored ones are read again', () => {
  const salt = Buffer.alloc(16, 1)
  const epochs = new Epochs(() => [
    { start: 0, salt },
    { start: 8192, salt },
  ])
  epochs.begin(4096)
  const begun = epochs.at(8192)
  expect(begun.equals(salt)).toBe(false)
  expect(epochs.refresh()).toBe(false)
  expect(epochs.at(8192).equals(begun)).toBe(true)
  expect(epochs.unstored).toEqual([{ start: 4096, salt: begun }])
})
