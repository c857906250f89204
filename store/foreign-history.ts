import type { Tid } from './ids.ts'

/** How much history an external database has. Packing it with its own tools drops old states and records that. */
export interface ForeignHistory {
  /** False if the database keeps only the newest state of each object. */
  readonly keepsHistory: boolean

  /**
   * The last transaction that a pack has processed; TID_NONE if there is none. Every state from it on is present; before
   * it an object may be missing at moments when it existed.
   */
  packedUpTo(): Promise<Tid>
}
