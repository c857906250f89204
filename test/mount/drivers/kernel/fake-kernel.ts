/**
 * The kernel's side of a session, for tests that lay out requests byte by byte: the two ends of a socket that keeps
 * messages apart stand for /dev/fuse.
 */
import { closeSync } from 'node:fs'
import { pino } from 'pino'
import { addressOf, read, socketpair, writev } from '../../../../mount/drivers/kernel/system-calls.ts'
import { Session } from '../../../../mount/drivers/kernel/session.ts'
import type { Operations } from '../../../../core/file-system/operations.ts'

const AF_UNIX = 1
const SOCK_SEQPACKET_NONBLOCK_CLOEXEC = 5 | 0o4000 | 0o2000000

export interface Answer {
  readonly error: number
  readonly unique: number
  readonly body: Buffer
}

export class FakeKernel {
  readonly session: Session
  readonly logged: string[] = []
  readonly #fd: number
  readonly #buffer = Buffer.from(new ArrayBuffer(1 << 21))
  #unique = 0

  constructor(operations: Operations) {
    const pair = new Int32Array(2)
    if (socketpair(AF_UNIX, SOCK_SEQPACKET_NONBLOCK_CLOEXEC, 0, pair) !== 0) throw new Error('no socket')
    this.#fd = pair[0]!
    const log = pino({ level: 'debug' }, { write: line => void this.logged.push(line) })
    this.session = new Session(pair[1]!, operations, { log, acl: false })
  }

  /** Agrees on 7.`minor` with all flags; returns the answer's body. */
  async init(minor = 45, flags = 0xffff_ffff, major = 7): Promise<Answer> {
    return await this.call(26, 0, u32(major, minor, 131072, flags, 0xffff_ffff, ...Array<number>(11).fill(0)))
  }

  /** Sends a request of user 65534, process 42, and waits for its answer. */
  async call(opcode: number, nodeid: number, body: Uint8Array = new Uint8Array()): Promise<Answer> {
    const unique = this.send(opcode, nodeid, body)
    for (;;) {
      const answer = await this.receive()
      if (answer.unique === unique) return answer
    }
  }

  /** Sends a request; returns what names it. */
  send(opcode: number, nodeid: number, body: Uint8Array = new Uint8Array()): number {
    this.#unique += 2
    const header = Buffer.alloc(40)
    header.writeUInt32LE(40 + body.length, 0)
    header.writeUInt32LE(opcode, 4)
    header.writeBigUInt64LE(BigInt(this.#unique), 8)
    header.writeBigUInt64LE(BigInt(nodeid), 16)
    header.set(u32(65534, 65534, 42), 24)
    this.sendRaw(Buffer.concat([header, body]))
    return this.#unique
  }

  sendRaw(bytes: Uint8Array): void {
    const vector = new BigUint64Array([addressOf(bytes), BigInt(bytes.length)])
    if (writev(this.#fd, addressOf(vector), 1) !== bytes.length) throw new Error('the request was not taken')
  }

  /** The next answer, whose length must be what its header says. */
  async receive(): Promise<Answer> {
    for (let turn = 0; turn < 2000; turn++) {
      const length = read(this.#fd, addressOf(this.#buffer), this.#buffer.length)
      if (length >= 16 && this.#buffer.readUInt32LE(0) === length)
        return {
          error: this.#buffer.readInt32LE(4),
          unique: Number(this.#buffer.readBigUInt64LE(8)),
          body: Buffer.from(this.#buffer.subarray(16, length)),
        }
      if (length >= 0) throw new Error(`an answer of ${length} bytes disagrees with its header`)
      await new Promise(resolve => setTimeout(resolve, turn < 50 ? 0 : 5))
    }
    throw new Error('no answer came')
  }

  /** Unmounts; resolves when the session has ended. */
  async close(): Promise<void> {
    closeSync(this.#fd)
    await this.session.done
  }
}

/** 32-bit numbers in little-endian order. */
export const u32 = (...values: readonly number[]): Buffer => Buffer.from(new Uint32Array(values).buffer)

/** 64-bit numbers in little-endian order. */
export const u64 = (...values: readonly (number | bigint)[]): Buffer =>
  Buffer.from(new BigUint64Array(values.map(BigInt)).buffer)

/** Names, each with its NUL. */
export const names = (...values: readonly string[]): Buffer =>
  Buffer.from(values.map(value => `${value}\0`).join(''), 'latin1')
