/** What takes part in a connection beside its objects. */
import type { Oid } from '../../store/ids.ts'

/** A holder of changes that are not in objects: a file with overlaid bytes. */
export interface Participant {
  /** Turns its changes into changed objects and pending records. */
  prepare(): Promise<void>
  /** Forgets its changes. */
  abort(): void
}

/** A cache of values that were derived from records. */
export interface DerivedCache {
  readonly sizeBytes: number
  /** Called when the record of an object has changed. */
  forget(oid: Oid): void
}

/** An object whose change could not be serialised. */
export interface LeftOut {
  readonly oid: Oid
  readonly className: string
  readonly error: unknown
}
