/** What a thread needs to read and write an encrypted database. */
import type { Epochs } from './epochs.ts'
import { type FrameOpener, FrameSeal, KEYLESS_FRAMES } from './frame-seal.ts'
import { KEYLESS_SEGMENTS, type SegmentOpener, SegmentSeal } from './segment-seal.ts'
import { DatabaseKeys, type MasterKey } from './keys.ts'
import { KeyedRows, KeylessRows, type RowSeal } from './row-seal.ts'

/** How a database is opened: undefined if it is not encrypted. Threads pass it on. */
export type Access = MasterKey | 'keyless' | undefined

/** Seals rows and frames, or opens what is legible without the key. */
export interface Opener {
  readonly rows: RowSeal
  readonly frames: FrameOpener
  /** Of a database on a server. */
  readonly segments: SegmentOpener
}

/** Seals and opens rows, frames and entries of the intent log. */
export interface Seals extends Opener {
  readonly keys: DatabaseKeys
  readonly epochs: Epochs
  readonly frames: FrameSeal
  readonly segments: SegmentSeal
}

/** @param name the database's, for messages. */
export function openerOf(access: Access, name: string, loadEpochs: () => Epochs): Opener | undefined {
  if (access === undefined) return undefined
  if (access === 'keyless')
    return { rows: new KeylessRows(name), frames: KEYLESS_FRAMES, segments: KEYLESS_SEGMENTS }
  return sealsOf(access, loadEpochs())
}

export function sealsOf(master: MasterKey, epochs: Epochs): Seals {
  const keys = new DatabaseKeys(master)
  return {
    keys,
    epochs,
    rows: new KeyedRows(keys, epochs),
    frames: new FrameSeal(keys, epochs),
    segments: new SegmentSeal(keys),
  }
}
