/** The thread that packs: it reads and decides, the store's writer does the steps. Its other end is pack.ts. */
import { setTimeout as sleep } from 'node:timers/promises'
import { parentPort, workerData } from 'node:worker_threads'
import type { Tid } from '../../store/ids.ts'
import { fromWire, toWire } from '../../store/errors.ts'
import { PackReader } from '../../store/sqlite/pack/pack-reader.ts'
import type { PackStep, PackStepResult } from '../../store/sqlite/pack/pack-steps.ts'
import { storeError } from '../../store/sqlite/sqlite-errors.ts'
import type { PackData, PackMessage, PackPhase, StepAnswer } from './messages.ts'
import { Packing } from './packing.ts'

const PROGRESS_MS = 100
/** Rests are taken when this much time has been worked. */
const WORK_MS = 10

type Port = NonNullable<typeof parentPort>

/** What the work itself knows of the outside. */
class Outside {
  readonly #port: Port
  readonly #rest: number
  #workedSince = performance.now()
  #toldAt = 0

  constructor(port: Port, rest: number) {
    this.#port = port
    this.#rest = rest
  }

  async step(step: PackStep): Promise<PackStepResult> {
    const answered = new Promise<StepAnswer>(resolve => this.#port.once('message', resolve))
    this.#post({ kind: 'step', step })
    const answer = await answered
    if ('error' in answer) throw fromWire(answer.error)
    return answer.result
  }

  progress(phase: PackPhase, done: number, total: number): void {
    const now = performance.now()
    if (now - this.#toldAt < PROGRESS_MS && done < total) return
    this.#toldAt = now
    this.#post({ kind: 'progress', progress: { phase, done, total } })
  }

  /** Rests, now and then. */
  pause(): Promise<void> | undefined {
    const workedMs = performance.now() - this.#workedSince
    if (this.#rest === 0 || workedMs < WORK_MS) return undefined
    return sleep(workedMs * this.#rest).then(() => {
      this.#workedSince = performance.now()
    })
  }

  #post(message: PackMessage): void {
    this.#port.postMessage(message, [])
  }
}

async function main(port: Port, data: PackData): Promise<void> {
  const post = (message: PackMessage): void => port.postMessage(message, [])
  try {
    const reader = new PackReader(data.path)
    try {
      const kept = { from: data.from as Tid, earlier: data.earlier as readonly Tid[] }
      const packing = new Packing(reader, kept, data.spareBytes, new Outside(port, data.rest))
      post({ kind: 'done', report: await packing.run() })
    } finally {
      reader.close()
    }
  } catch (error) {
    post({ kind: 'failed', error: toWire(storeError(error, data.path)) })
  }
  port.close()
}

if (parentPort !== null) await main(parentPort, workerData as PackData)
