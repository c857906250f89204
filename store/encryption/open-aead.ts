/**
 * AES-256-GCM for short messages. node:crypto makes a new context for each message, which costs ten times what encrypting 4 KiB does, so
 * the library that Node contains is called directly, with contexts that are reused. Where a build of Node does not export it, node:crypto
 * is used.
 */
import { createCipheriv, createDecipheriv } from 'node:crypto'
import { NO_BYTES } from '../bytes.ts'
import { koffi } from '../koffi.ts'
import { type Aead, KEY_BYTES, NONCE_BYTES, TAG_BYTES } from './aead.ts'

/** Opens an AES-256-GCM key. */
export type OpenAead = (key: Uint8Array) => Aead

/** Through node:crypto. */
export const nodeAead: OpenAead = key => {
  const own = Buffer.from(key)
  return {
    encrypt(nonce, aad, plain, into, tag) {
      const cipher = createCipheriv('aes-256-gcm', own, nonce)
      cipher.setAAD(aad)
      into.set(cipher.update(plain))
      cipher.final()
      tag.set(cipher.getAuthTag())
    },
    decrypt(nonce, aad, sealed, into, tag) {
      const decipher = createDecipheriv('aes-256-gcm', own, nonce, { authTagLength: TAG_BYTES })
      decipher.setAAD(aad)
      decipher.setAuthTag(tag)
      into.set(decipher.update(sealed))
      try {
        decipher.final()
        return true
      } catch {
        return false
      }
    },
    close: () => void own.fill(0),
  }
}

type Pointer = unknown
const GET_TAG = 0x10
const SET_TAG = 0x11

/** The functions of OpenSSL's libcrypto. @throws if this process does not have them. */
function bindLibrary() {
  const library = koffi.load(null)
  const newContext = library.func('void *EVP_CIPHER_CTX_new()') as () => Pointer
  const freeContext = library.func('void EVP_CIPHER_CTX_free(void *ctx)') as (ctx: Pointer) => void
  const gcm = (library.func('const void *EVP_aes_256_gcm()') as () => Pointer)()
  const init = library.func(
    'int EVP_CipherInit_ex(void *ctx, const void *cipher, void *engine, const void *key, const void *iv, int enc)',
  ) as (
    ctx: Pointer,
    cipher: Pointer,
    engine: null,
    key: Uint8Array | null,
    iv: Uint8Array | null,
    enc: number,
  ) => number
  const update = library.func(
    'int EVP_CipherUpdate(void *ctx, void *out, void *outLength, const void *in, int length)',
  ) as (
    ctx: Pointer,
    out: Uint8Array | null,
    outLength: Int32Array,
    from: Uint8Array,
    length: number,
  ) => number
  const final = library.func('int EVP_CipherFinal_ex(void *ctx, void *out, void *outLength)') as (
    ctx: Pointer,
    out: Uint8Array,
    outLength: Int32Array,
  ) => number
  const control = library.func('int EVP_CIPHER_CTX_ctrl(void *ctx, int type, int length, void *bytes)') as (
    ctx: Pointer,
    type: number,
    length: number,
    bytes: Uint8Array,
  ) => number
  return { newContext, freeContext, gcm, init, update, final, control }
}

/** Through the functions of the library. @throws if this process does not have them. */
function openLibrary(): OpenAead {
  const { newContext, freeContext, gcm, init, update, final, control } = bindLibrary()
  const outLength = new Int32Array(1)
  const rest = new Uint8Array(TAG_BYTES)
  const check = (result: number): void => {
    if (result !== 1) throw new Error('AES-256-GCM failed')
  }
  return key => {
    const ctx = newContext()
    check(init(ctx, gcm, null, key, null, 1))
    const begin = (nonce: Uint8Array, aad: Uint8Array, isSealing: boolean): void => {
      check(init(ctx, null, null, null, nonce, isSealing ? 1 : 0))
      check(update(ctx, null, outLength, aad, aad.length))
    }
    return {
      encrypt(nonce, aad, plain, into, tag) {
        begin(nonce, aad, true)
        if (plain.length > 0) check(update(ctx, into, outLength, plain, plain.length))
        check(final(ctx, rest, outLength))
        check(control(ctx, GET_TAG, TAG_BYTES, tag))
      },
      decrypt(nonce, aad, sealed, into, tag) {
        begin(nonce, aad, false)
        if (sealed.length > 0) check(update(ctx, into, outLength, sealed, sealed.length))
        check(control(ctx, SET_TAG, TAG_BYTES, tag))
        return final(ctx, rest, outLength) === 1
      },
      close: () => freeContext(ctx),
    }
  }
}

let found: OpenAead | undefined

/** Opens a key with the fastest implementation in this process. */
export function openAead(key: Uint8Array): Aead {
  if (found === undefined) {
    try {
      const open = openLibrary()
      const aead = open(new Uint8Array(KEY_BYTES))
      aead.encrypt(new Uint8Array(NONCE_BYTES), NO_BYTES, NO_BYTES, NO_BYTES, new Uint8Array(TAG_BYTES))
      aead.close()
      found = open
    } catch {
      found = nodeAead
    }
  }
  return found(key)
}

/** Whether this process has the library's functions: what {@link openAead} uses then. */
export const isAeadNative = (): boolean => {
  openAead(new Uint8Array(KEY_BYTES)).close()
  return found !== nodeAead
}
