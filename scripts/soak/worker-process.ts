/** A worker of a soak run, controlled by its parent. */
import { type ChildProcess, fork } from 'node:child_process'
import { once } from 'node:events'
import { fileURLToPath } from 'node:url'
import type { Kept } from './journal.ts'
import type { Kind } from './operations.ts'
import type { Ask, Failed, Worked } from './worker.ts'

/** Timeout of a worker's answer, except to `work`. */
const ANSWER_TIMEOUT_MS = 300_000

export class WorkerProcess {
  readonly name: string
  readonly #child: ChildProcess

  constructor(mount: string, name: string, kind: Kind, historyMs: number) {
    this.name = name
    this.#child = fork(
      fileURLToPath(new URL('worker.ts', import.meta.url)),
      [mount, name, kind, `${historyMs}`],
      // Times may be Infinity, which JSON cannot represent.
      { serialization: 'advanced' },
    )
  }

  /** Resolves when it has stopped: after {@link WorkerProcess.pause}, or because the mount was killed. @throws Error */
  async work(seed: number): Promise<Worked> {
    return (await this.#ask({ ask: 'work', seed })) as Worked
  }

  pause(): void {
    this.#child.send({ ask: 'pause' } satisfies Ask)
  }

  /** Returns the operations that a crash has preserved. @throws Error if the tree is not a possible state. */
  async look(syncedMs: number): Promise<Kept> {
    return (await this.#ask({ ask: 'look', syncedMs }, ANSWER_TIMEOUT_MS)) as Kept
  }

  /** @throws Error for missing or surplus content. */
  async compare(): Promise<void> {
    await this.#ask({ ask: 'compare' }, ANSWER_TIMEOUT_MS)
  }

  /** Ends the process. One that hangs in a dead mount ends when that is unmounted. */
  end(): void {
    this.#child.kill('SIGKILL')
  }

  async #ask(ask: Ask, timeoutMs?: number): Promise<unknown> {
    const settled = new AbortController()
    const limits = timeoutMs === undefined ? [] : [AbortSignal.timeout(timeoutMs)]
    const signal = AbortSignal.any([settled.signal, ...limits])
    const answered = once(this.#child, 'message', { signal })
    const ended = once(this.#child, 'exit', { signal }).then(([code]) => {
      throw new Error(`worker ${this.name} ended with ${String(code)}`)
    })
    ended.catch(() => undefined)
    this.#child.send(ask)
    try {
      const [answer] = (await Promise.race([answered, ended])) as [object | Failed]
      if ('failed' in answer) throw new Error(answer.failed)
      return answer
    } finally {
      settled.abort()
    }
  }
}
