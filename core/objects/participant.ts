/** Participants in a connection's transaction besides its objects. */
import type { Oid } from '../../store/ids.ts'

/** A holder of changes that are not in objects: a file with overlaid bytes. */
export interface Participant {
  /** Loads what `prepare` will need. Changes may run meanwhile; they load what they need in addition by `loadChanges`. */
  load?(): Promise<void>
  /** Loads what changes since `load` need. */
  loadChanges?(): Promise<void>
  /** Turns its changes into changed objects and pending records. */
  prepare(): Promise<void>
  /** Drops its changes. */
  abort(): void
}

/** A cache of values derived from records. */
export interface DerivedCache {
  readonly sizeBytes: number
  /** Called when the record of an object has changed. */
  forget(oid: Oid): void
  /** Forgets everything. */
  clear(): void
  /** From now on values that are used stay, within a bound. */
  startHolding(): void
  endHolding(): void
}

/** An object whose change could not be serialised. */
export interface LeftOut {
  readonly oid: Oid
  readonly className: string
  readonly error: unknown
}
