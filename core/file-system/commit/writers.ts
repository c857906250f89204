/**
 * The processes that changed something since the last prepare.
 *
 * A process is recorded when its operation begins and again when it ends, as a prepare may take the changes in between: a
 * transaction may name a process whose last change is in the next one.
 */
import { programOf } from '../../process-program.ts'
import { WRITERS_MAX, type Writer } from '../../objects/transaction-summary.ts'
import type { Caller } from '../operations.ts'

interface Noted extends Writer {
  /**
   * Whether it changed data. A shell opens a file and then executes the program that writes it, so the first write asks
   * for the name of the program again.
   */
  readonly writes: boolean
}

export class Writers {
  readonly #noted = new Map<number, Noted>()
  #last: Noted | undefined

  /** @param writes whether the process changes data. */
  note({ uid, pid }: Pick<Caller, 'uid' | 'pid'>, writes: boolean): void {
    const last = this.#last
    if (last?.pid === pid && last.uid === uid && (last.writes || !writes)) return
    const known = this.#noted.get(pid)
    if (known?.uid === uid && (known.writes || !writes)) this.#last = known
    else if (known !== undefined || this.#noted.size < WRITERS_MAX) {
      this.#last = { uid, pid, program: programOf(pid) || (known?.program ?? ''), writes }
      this.#noted.set(pid, this.#last)
    }
  }

  /** Adds those of an earlier prepare whose commit has failed. */
  putBack(earlier: Writers): void {
    for (const [pid, writer] of earlier.#noted) if (!this.#noted.has(pid)) this.#noted.set(pid, writer)
  }

  list(): readonly Writer[] {
    return [...this.#noted.values()]
  }
}
