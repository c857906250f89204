/** The first phase of an NBD connection: the client asks about exports, and chooses one. */
import type { Socket } from 'node:net'
import type { ByteReader } from '../byte-reader.ts'
import type { NbdExport } from './export.ts'
import {
  ALLOCATION_CONTEXT,
  Handshake,
  Info,
  MAGIC,
  Option,
  OPTION_MAGIC,
  OPTION_REPLY_MAGIC,
  OptionReply,
} from './protocol.ts'

const OPTION_MAX_BYTES = 64 << 10
/** Maximum length of one read or write. */
export const TRANSFER_MAX_BYTES = 32 << 20
const PREFERRED_BYTES = 4096
const ALLOCATION_ID = 1

/** What was agreed on. */
export interface Agreement {
  readonly exported: NbdExport
  readonly isStructured: boolean
  /** The number of the context `base:allocation`, if the client requested it. */
  readonly allocationId: number | undefined
}

/** The export of a name; '' is the default one. */
export type FindExport = (name: string) => NbdExport | undefined

interface State {
  isStructured: boolean
  /** The export of which the client has requested the allocation. */
  allocationOf: string | undefined
  readonly hasZeroes: boolean
}

/** Negotiates; undefined if the client gave up or violated the protocol. */
export async function shakeHands(
  socket: Socket,
  reader: ByteReader,
  names: readonly string[],
  find: FindExport,
): Promise<Agreement | undefined> {
  const greeting = Buffer.alloc(18)
  greeting.writeBigUInt64BE(MAGIC, 0)
  greeting.writeBigUInt64BE(OPTION_MAGIC, 8)
  greeting.writeUInt16BE(Handshake.FIXED_NEWSTYLE | Handshake.NO_ZEROES, 16)
  socket.write(greeting)
  const flags = (await reader.take(4))?.readUInt32BE()
  if (flags === undefined || (flags & Handshake.FIXED_NEWSTYLE) === 0) return undefined
  const state: State = {
    isStructured: false,
    allocationOf: undefined,
    hasZeroes: (flags & Handshake.NO_ZEROES) === 0,
  }
  for (;;) {
    const header = await reader.take(16)
    if (header === undefined || header.readBigUInt64BE(0) !== OPTION_MAGIC) return undefined
    const [option, length] = [header.readUInt32BE(8), header.readUInt32BE(12)]
    if (length > OPTION_MAX_BYTES) return undefined
    const data = await reader.take(length)
    if (data === undefined) return undefined
    const reply = (type: number, payload: Buffer = Buffer.alloc(0)): void =>
      void socket.write(optionReply(option, type, payload))
    if (option === Option.ABORT) {
      reply(OptionReply.ACK)
      return undefined
    }
    const exported = answer(option, data, state, reply, { socket, names, find })
    if (exported === 'end') return undefined
    if (exported === undefined) continue
    const allocationId = state.allocationOf === exported.name ? ALLOCATION_ID : undefined
    return { exported, isStructured: state.isStructured, allocationId }
  }
}

function optionReply(option: number, type: number, payload: Buffer): Buffer {
  const header = Buffer.alloc(20)
  header.writeBigUInt64BE(OPTION_REPLY_MAGIC, 0)
  header.writeUInt32BE(option, 8)
  header.writeUInt32BE(type, 12)
  header.writeUInt32BE(payload.length, 16)
  return Buffer.concat([header, payload])
}

type Reply = (type: number, payload?: Buffer) => void

interface Exports {
  readonly socket: Socket
  readonly names: readonly string[]
  readonly find: FindExport
}

/** Answers an option; returns the export that was chosen, if one was. */
function answer(
  option: number,
  data: Buffer,
  state: State,
  reply: Reply,
  { socket, names, find }: Exports,
): NbdExport | 'end' | undefined {
  switch (option) {
    case Option.EXPORT_NAME: {
      const exported = find(data.toString())
      // This option has no error reply.
      if (exported === undefined) return 'end'
      const description = describeExport(exported)
      socket.write(state.hasZeroes ? Buffer.concat([description, Buffer.alloc(124)]) : description)
      return exported
    }
    case Option.LIST:
      for (const name of names) reply(OptionReply.SERVER, lengthAnd(name))
      reply(OptionReply.ACK)
      return undefined
    case Option.INFO:
    case Option.GO: {
      const name = textAt(data, 0)
      const exported = name === undefined ? undefined : find(name.text)
      if (exported === undefined) {
        reply(name === undefined ? OptionReply.ERR_INVALID : OptionReply.ERR_UNKNOWN)
        return undefined
      }
      const size = Buffer.alloc(2)
      size.writeUInt16BE(Info.EXPORT)
      reply(OptionReply.INFO, Buffer.concat([size, describeExport(exported)]))
      reply(OptionReply.INFO, blockSizes())
      reply(OptionReply.ACK)
      return option === Option.GO ? exported : undefined
    }
    case Option.STRUCTURED_REPLY:
      state.isStructured = true
      reply(OptionReply.ACK)
      return undefined
    case Option.LIST_META_CONTEXT:
    case Option.SET_META_CONTEXT:
      answerContexts(option, data, state, reply, find)
      return undefined
    default:
      reply(OptionReply.ERR_UNSUP)
      return undefined
  }
}

function answerContexts(option: number, data: Buffer, state: State, reply: Reply, find: FindExport): void {
  const name = textAt(data, 0)
  const exported = name === undefined ? undefined : find(name.text)
  if (name === undefined || data.length < name.next + 4) return reply(OptionReply.ERR_INVALID)
  if (exported === undefined) return reply(OptionReply.ERR_UNKNOWN)
  const count = data.readUInt32BE(name.next)
  const asked: string[] = []
  let at = name.next + 4
  for (let i = 0; i < count; i++) {
    const query = textAt(data, at)
    if (query === undefined) return reply(OptionReply.ERR_INVALID)
    asked.push(query.text)
    at = query.next
  }
  const isListed = option === Option.LIST_META_CONTEXT && asked.length === 0
  const isAsked = isListed || asked.includes(ALLOCATION_CONTEXT) || asked.includes('base:')
  if (isAsked) {
    const id = Buffer.alloc(4)
    id.writeUInt32BE(option === Option.SET_META_CONTEXT ? ALLOCATION_ID : 0)
    reply(OptionReply.META_CONTEXT, Buffer.concat([id, Buffer.from(ALLOCATION_CONTEXT)]))
  }
  if (option === Option.SET_META_CONTEXT) state.allocationOf = isAsked ? exported.name : undefined
  reply(OptionReply.ACK)
}

/** A text behind its length. */
function textAt(data: Buffer, at: number): { readonly text: string; readonly next: number } | undefined {
  if (data.length < at + 4) return undefined
  const next = at + 4 + data.readUInt32BE(at)
  return next > data.length ? undefined : { text: data.toString('utf8', at + 4, next), next }
}

function lengthAnd(text: string): Buffer {
  const bytes = Buffer.from(text)
  const length = Buffer.alloc(4)
  length.writeUInt32BE(bytes.length)
  return Buffer.concat([length, bytes])
}

function describeExport({ size, flags }: NbdExport): Buffer {
  const description = Buffer.alloc(10)
  description.writeBigUInt64BE(size, 0)
  description.writeUInt16BE(flags, 8)
  return description
}

function blockSizes(): Buffer {
  const info = Buffer.alloc(14)
  info.writeUInt16BE(Info.BLOCK_SIZE, 0)
  info.writeUInt32BE(1, 2)
  info.writeUInt32BE(PREFERRED_BYTES, 6)
  info.writeUInt32BE(TRANSFER_MAX_BYTES, 10)
  return info
}
