/** The thread that packs: it reads and decides, and the store's writer does the steps. Its other end is sqlite-packing.ts. */
import { setTimeout as sleep } from 'node:timers/promises'
import { parentPort, workerData } from 'node:worker_threads'
import type { MarkModule, PackPhase } from '../../capabilities.ts'
import { tid as toTid } from '../../ids.ts'
import { storeError } from '../sqlite-errors.ts'
import { fromWire, toWire } from '../../errors.ts'
import type { PackData, PackMessage, StepAnswer } from './messages.ts'
import { PackReader } from './pack-reader.ts'
import { PackRun } from '../../indexed/pack/pack-run.ts'
import type { PackStep, PackStepResult } from '../../indexed/pack/pack-steps.ts'

const PROGRESS_MS = 100
/** Work between two rests. */
const WORK_MS = 10

type Port = NonNullable<typeof parentPort>

class Outside {
  readonly #port: Port
  readonly #rest: number
  #workingSince = performance.now()
  #reportedAt = 0

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
    if (now - this.#reportedAt < PROGRESS_MS && done < total) return
    this.#reportedAt = now
    this.#post({ kind: 'progress', progress: { phase, done, total } })
  }

  /** Rests once {@link WORK_MS} have passed since the last rest. */
  pause(): Promise<void> | undefined {
    const workedMs = performance.now() - this.#workingSince
    if (this.#rest === 0 || workedMs < WORK_MS) return undefined
    return sleep(workedMs * this.#rest).then(() => {
      this.#workingSince = performance.now()
    })
  }

  #post(message: PackMessage): void {
    this.#port.postMessage(message, [])
  }
}

async function main(port: Port, data: PackData): Promise<void> {
  const post = (message: PackMessage): void => port.postMessage(message, [])
  try {
    const { mark } = (await import(data.marker)) as MarkModule
    const reader = new PackReader(data.path)
    try {
      const kept = { from: toTid(data.from), earlier: data.earlier.map(toTid) }
      const outside = new Outside(port, data.rest)
      const run = new PackRun({ reader, kept, mark, spareBytes: data.spareBytes, outside })
      post({ kind: 'done', report: await run.run() })
    } finally {
      reader.close()
    }
  } catch (error) {
    post({ kind: 'failed', error: toWire(storeError(error, data.path)) })
  }
  port.close()
}

if (parentPort !== null) await main(parentPort, workerData as PackData)
