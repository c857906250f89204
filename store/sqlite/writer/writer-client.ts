/**
 * The event loop's end of the writer's thread: a queue of commits, answered in order. If the thread dies for any reason,
 * all waiting and later commits are rejected, so that nothing hangs.
 */
import { constants } from 'node:fs'
import { openSync } from '../../os-files.ts'
import { Worker } from 'node:worker_threads'
import { O_PATH } from '../../o-path.ts'
import { siblingModule } from '../../sibling-module.ts'
import { StoreError, WriterGoneError, fromWire } from '../../errors.ts'
import { tid as toTid, type Tid, knownTid } from '../../ids.ts'
import type { ObjectChange } from '../../changes.ts'
import type { NewTransaction } from '../../store.ts'
import type { WriterData, WriterOptions, WriterReply, WriterRequest, WriterStats } from './messages.ts'
import type { DatabasePlace } from '../open/database-place.ts'
import type { PackStep, PackStepResult } from '../../indexed/pack/pack-steps.ts'
import { encodeTransaction } from './wire.ts'

const WRITER_FILE = siblingModule('writer', import.meta.url)

type Done = Extract<WriterReply, { kind: 'done' }>

interface Waiting {
  readonly resolve: (done: Done) => void
  readonly reject: (error: Error) => void
}

/** A writer whose thread has opened the database, and the state found there. */
export interface StartedWriter {
  readonly client: WriterClient
  readonly lastTid: Tid
  readonly nextOid: number
}

export class WriterClient {
  readonly #worker: Worker
  readonly #place: DatabasePlace
  readonly #waiting: Waiting[] = []
  /** The thread's descriptor of the database's directory. */
  #directory: number
  #failure: Error | undefined
  #stats: WriterStats | undefined

  private constructor(place: DatabasePlace, options: WriterOptions) {
    this.#place = place
    const { directory, name } = place.name
    this.#directory = directory
    const workerData: WriterData = { directory, name, fd: place.fd, ...options }
    this.#worker = new Worker(WRITER_FILE, { workerData })
    this.#worker.on('message', (reply: WriterReply) => this.#settle(reply))
    this.#worker.on('error', error => this.#fail(`failed: ${String(error)}`, error))
    this.#worker.on('exit', () => this.#fail('has ended', undefined))
  }

  /** Starts the thread; resolves when it has opened the database. */
  static async start(place: DatabasePlace, options: WriterOptions): Promise<StartedWriter> {
    const client = new WriterClient(place, options)
    const { lastTid, nextOid } = await client.#answer().catch(async (error: unknown) => {
      await client.#worker.terminate()
      throw error
    })
    return { client, lastTid: knownTid(lastTid), nextOid }
  }

  get stats(): WriterStats | undefined {
    return this.#stats
  }

  /** `nextOid`: the first unallocated oid. Resolves to the last transaction's tid. */
  async commit(transaction: NewTransaction, nextOid: number): Promise<Tid> {
    if (this.#failure !== undefined) throw this.#failure
    const encoded = encodeTransaction(transaction)
    const { lastTid } = await this.#request({ kind: 'commit', transaction: encoded, nextOid }, [
      encoded.copied,
    ])
    return knownTid(lastTid)
  }

  /** Stores a part of the next transaction; resolves to the tid of that transaction. `nextOid` as for `commit`. */
  async spill(changes: readonly ObjectChange[], nextOid: number, tid: Tid): Promise<Tid> {
    if (this.#failure !== undefined) throw this.#failure
    const encoded = encodeTransaction({ changes, tid })
    const { spilled } = await this.#request({ kind: 'spill', transaction: encoded, nextOid }, [
      encoded.copied,
    ])
    if (spilled === undefined) throw new StoreError(`the writer of ${this.#place.path} did not spill`)
    return toTid(spilled)
  }

  /** Removes what was spilled since the last commit. */
  async dropSpilled(): Promise<void> {
    await this.#request({ kind: 'drop spilled' }, [])
  }

  /** Runs a step of a pack after the queued commits. */
  async pack(step: PackStep): Promise<PackStepResult> {
    const { packed } = await this.#request({ kind: 'pack', step }, [])
    if (packed === undefined)
      throw new StoreError(`the writer of ${this.#place.path} returned no result for a step of a pack`)
    return packed
  }

  /** See `Presence.storeUnnamed` in capabilities.ts. */
  async storeUnnamed(isAllowed: boolean): Promise<void> {
    await this.#request({ kind: 'store unnamed', isAllowed }, [])
  }

  /**
   * Gives the files next to a renamed database its new name.
   * @throws DatabaseGoneError if it was removed; StoreError if they cannot be renamed.
   */
  async follow(): Promise<void> {
    await this.#request({ kind: 'follow' }, [])
  }

  /** Ends the thread after the queued commits. */
  async close(): Promise<void> {
    if (this.#failure !== undefined) return
    const exited = new Promise(resolve => this.#worker.once('exit', resolve))
    await this.#request({ kind: 'close' }, [])
    await exited
  }

  async #request(request: WriterRequest, transfer: readonly ArrayBuffer[]): Promise<Done> {
    if (this.#failure !== undefined) throw this.#failure
    this.#worker.postMessage(request, transfer)
    return await this.#answer()
  }

  #answer(): Promise<Done> {
    return new Promise((resolve, reject) => this.#waiting.push({ resolve, reject }))
  }

  #settle(reply: WriterReply): void {
    const waiting = this.#waiting.shift()
    if (reply.kind === 'done') {
      this.#stats = reply.stats
      this.#noteName(reply)
      waiting?.resolve(reply)
    } else {
      waiting?.reject(fromWire(reply.error))
    }
  }

  /** The thread has found the database under another name. */
  #noteName({ directory, name }: Done): void {
    if (directory === this.#directory) return
    this.#directory = directory
    // The thread closes its own descriptors at its end.
    const own = openSync(`/proc/self/fd/${directory}`, O_PATH | constants.O_DIRECTORY)
    this.#place.rename({ directory: own, name })
  }

  #fail(what: string, cause: unknown): void {
    this.#failure ??= new WriterGoneError(
      `the writer of ${this.#place.path} ${what}: what was committed is safe; mount the database again`,
      { cause },
    )
    for (const { reject } of this.#waiting.splice(0)) reject(this.#failure)
  }
}
