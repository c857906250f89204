/** The thread that packs: it reads and decides; the store's writer runs the steps. Its other end is sqlite-packing.ts. */
import { parentPort, workerData } from 'node:worker_threads'
import type { PackPhase } from '../../capabilities.ts'
import type { MarkModule } from '../../stored-revisions.ts'
import { tid as toTid } from '../../ids.ts'
import { paceCollections } from '../../gc-pacing.ts'
import { storeError } from '../sqlite-errors.ts'
import { fromWire, toWire } from '../../errors.ts'
import type { PackData, PackMessage, StepAnswer } from './messages.ts'
import { openRevisionReader } from '../revision-reader.ts'
import type { MarkMemory } from '../../indexed/pack/mark-memory.ts'
import { openMarkMemory } from './mark-file.ts'
import { Pacing } from '../../indexed/pack/pacing.ts'
import { PackRun, type PackOutside } from '../../indexed/pack/pack-run.ts'
import type { PackStep, PackStepResult } from '../../indexed/pack/pack-steps.ts'

paceCollections()

type Port = NonNullable<typeof parentPort>

class Outside implements PackOutside {
  readonly #port: Port
  readonly #pacing: Pacing

  constructor(port: Port, rest: number) {
    this.#port = port
    this.#pacing = new Pacing(rest, progress => this.#post({ kind: 'progress', progress }))
  }

  async step(step: PackStep): Promise<PackStepResult> {
    const answered = new Promise<StepAnswer>(resolve => this.#port.once('message', resolve))
    this.#post({ kind: 'step', step })
    const answer = await answered
    if ('error' in answer) throw fromWire(answer.error)
    return answer.result
  }

  progress(phase: PackPhase, done: number, total: number): void {
    this.#pacing.progress(phase, done, total)
  }

  pause(): Promise<void> | undefined {
    return this.#pacing.pause()
  }

  #post(message: PackMessage): void {
    this.#port.postMessage(message, [])
  }
}

async function main(port: Port, data: PackData): Promise<void> {
  const post = (message: PackMessage): void => port.postMessage(message, [])
  try {
    const marker = (await import(data.marker)) as MarkModule
    const reader = openRevisionReader(data.path, data.key)
    post({ kind: 'loaded' })
    try {
      const kept = { from: toTid(data.from), earlier: data.earlier.map(toTid) }
      const outside = new Outside(port, data.rest)
      const openMemory = (isTemporary: boolean): MarkMemory => openMarkMemory(data.path, isTemporary)
      const run = new PackRun({ reader, kept, marker, openMemory, spareBytes: data.spareBytes, outside })
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
