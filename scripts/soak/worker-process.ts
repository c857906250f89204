/** A soak run's worker, from its parent's side. */
import { type ChildProcess, fork } from 'node:child_process'
import { once } from 'node:events'
import { fileURLToPath } from 'node:url'
import type { Kept } from './journal.ts'
import type { Kind } from './operations.ts'
import type { Ask, Failed, Worked } from './worker.ts'

/** Nothing that a worker is asked for takes longer; `work` does, which is waited for otherwise. */
const ANSWER_TIMEOUT_MS = 300_000

export class WorkerProcess {
  readonly name: string
  readonly #child: ChildProcess

  constructor(mount: string, name: string, kind: Kind, historyMs: number) {
    this.name = name
    this.#child = fork(
      fileURLToPath(new URL('worker.ts', import.meta.url)),
      [mount, name, kind, `${historyMs}`],
      // Times may be Infinity, which JSON does not know.
      { serialization: 'advanced' },
    )
  }

  /** Resolves when it has stopped: after {@link WorkerProcess.pause}, or because the mount died. @throws Error */
  async work(seed: number): Promise<Worked> {
    return (await this.#ask({ ask: 'work', seed })) as Worked
  }

  pause(): void {
    this.#child.send({ ask: 'pause' } satisfies Ask)
  }

  /** Returns which operations a crash has left. @throws Error if the tree is not a possible state. */
  async look(syncedMs: number): Promise<Kept> {
    return (await this.#ask({ ask: 'look', syncedMs }, ANSWER_TIMEOUT_MS)) as Kept
  }

  /** @throws Error where something is missing, or too much. */
  async compare(): Promise<void> {
    await this.#ask({ ask: 'compare' }, ANSWER_TIMEOUT_MS)
  }

  /** Ends the process. One that hangs in a dead mount goes when the mount does. */
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
