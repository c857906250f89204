/**
 * A moment of an external ZODB database: a connection, opened at its first use and dropped when other moments have
 * been used more recently. Everything is read through `use`. The moment of live-view.ts moves.
 */
import { Connection } from '../../objects/connection.ts'
import { readingForeign } from '../damage.ts'
import type { Tid } from '../../../store/ids.ts'
import type { Store } from '../../../store/store.ts'

export interface View {
  /** The view's moment. */
  readonly at: Tid
  readonly isLive: boolean
  /** Runs `work` with a connection whose moment does not move meanwhile. */
  use<T>(work: (connection: Connection) => Promise<T>): Promise<T>
}

/** Maximum number of past moments with objects in memory. */
const ATTACHED_MAX = 16

/** The moments of the past that are in use, one view per transaction. */
export class PastViews {
  readonly #store: Store
  readonly #cacheSizeBytes: number
  readonly #views = new Map<Tid, PastView>()
  /** Views with a connection, least recently used first. */
  readonly #attached = new Set<PastView>()

  /** @param cacheSizeBytes the bound of each view's objects in memory. */
  constructor(store: Store, cacheSizeBytes: number) {
    this.#store = store
    this.#cacheSizeBytes = cacheSizeBytes
  }

  get(at: Tid): PastView {
    const known = this.#views.get(at)
    if (known !== undefined) return known
    const view = new PastView(this.#store, at, () => this.#connect(view))
    this.#views.set(at, view)
    return view
  }

  /** Drops a view without inodes. */
  drop(view: View): void {
    if (!(view instanceof PastView)) return
    this.#views.delete(view.at)
    this.#attached.delete(view)
  }

  #connect(view: PastView): Promise<Connection> {
    this.#attached.delete(view)
    this.#attached.add(view)
    view.connection ??= Connection.open(this.#store, { at: view.at, cacheSizeBytes: this.#cacheSizeBytes })
    const connection = view.connection
    for (const oldest of this.#attached) {
      if (this.#attached.size <= ATTACHED_MAX) break
      oldest.connection = undefined
      this.#attached.delete(oldest)
    }
    return connection
  }
}

class PastView implements View {
  readonly at: Tid
  readonly isLive = false
  connection: Promise<Connection> | undefined
  readonly #store: Store
  readonly #connect: () => Promise<Connection>

  constructor(store: Store, at: Tid, connect: () => Promise<Connection>) {
    this.#store = store
    this.at = at
    this.#connect = connect
  }

  async use<T>(work: (connection: Connection) => Promise<T>): Promise<T> {
    return await readingForeign(this.#store, async () => work(await this.#connect()))
  }
}
