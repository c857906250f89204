/** Rows of an encrypted database whose checksum is right, but which were not sealed with its key for their place. */
import { ROW_FORGED } from '../../encryption/row-seal.ts'
import type { Opener } from '../../encryption/seals.ts'
import { CorruptRecordError, StoreError } from '../../errors.ts'
import { legibleIds } from '../../ids.ts'

/** A row of `revision`: oid, tid, sum, head, pos, len, tail. */
type Cells = readonly [bigint, bigint, bigint, Buffer | null, bigint | null, bigint, Buffer | null]

/** Why a row is not what was written there; undefined if it is, and without the key. */
export function forgedRow(
  opener: Opener | undefined,
  [oid, tid, , head, pos, len, tail]: Cells,
): string | undefined {
  const at = pos === null ? null : Number(pos)
  try {
    opener?.rows.open({ ...legibleIds(oid, tid), head, pos: at, len: Number(len), tail })
    return undefined
  } catch (error) {
    if (error instanceof CorruptRecordError) return ROW_FORGED
    if (error instanceof StoreError && error.code === 'key-needed') return undefined
    throw error
  }
}

/** Whether the texts of a transaction are not what was written; false without the key. */
export function isForgedTransaction(
  opener: Opener | undefined,
  { tid, extension }: { readonly tid: bigint; readonly extension: Buffer },
): boolean {
  try {
    opener?.rows.openTexts({ tid: legibleIds(0, tid).tid, user: '', description: '', extension })
    return false
  } catch (error) {
    if (error instanceof StoreError) return true
    throw error
  }
}
