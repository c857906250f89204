/** What the event loop and the writer's thread say to each other. */
import {
  ConflictError,
  CorruptRecordError,
  NoSpaceError,
  ObjectNotFoundError,
  StoreError,
} from '../../errors.ts'
import { oid as toOid, tid as toTid } from '../../ids.ts'
import type { PackStep, PackStepResult } from '../pack/pack-steps.ts'
import type { WireTransaction } from './wire.ts'

/** Given to the worker when it starts. */
export interface WriterData {
  readonly path: string
}

export type WriterRequest =
  | { readonly kind: 'commit'; readonly transaction: WireTransaction; readonly nextOid: number }
  | { readonly kind: 'pack'; readonly step: PackStep }
  | { readonly kind: 'close' }

/** The first comes when the writer is ready; then one for each request, in their order. */
export type WriterReply =
  | {
      readonly kind: 'done'
      readonly lastTid: bigint
      readonly nextOid: number
      readonly stats: WriterStats
      /** What a pack's step did. */
      readonly packed?: PackStepResult
    }
  | { readonly kind: 'error'; readonly error: WireError }

/** What the writer counts. */
export interface WriterStats {
  readonly commits: number
  readonly checkpoints: number
  /** Bytes of records in the transactions that were committed, shared ones included. */
  readonly committedBytes: number
  /** Why the last checkpoint failed; undefined when it did not. Nothing is lost, but the WAL grows meanwhile. */
  readonly checkpointFailure: string | undefined
}

/** An error with what its class carries: classes do not survive the way between threads. */
export type WireError =
  | { readonly kind: 'conflict'; readonly oid: number; readonly base: bigint; readonly current: bigint }
  | { readonly kind: 'missing'; readonly oid: number; readonly at: bigint }
  | { readonly kind: 'corrupt'; readonly oid: number; readonly tid: bigint; readonly reason: string }
  | {
      readonly kind: 'space' | 'store' | 'other'
      readonly message: string
      readonly stack: string | undefined
    }

export function toWire(error: unknown): WireError {
  if (error instanceof ConflictError) {
    return { kind: 'conflict', oid: error.oid, base: error.base, current: error.current }
  }
  if (error instanceof ObjectNotFoundError) return { kind: 'missing', oid: error.oid, at: error.at }
  if (error instanceof CorruptRecordError) {
    return { kind: 'corrupt', oid: error.oid, tid: error.tid, reason: error.reason }
  }
  const { message, stack } = error instanceof Error ? error : new Error(String(error))
  if (error instanceof NoSpaceError) return { kind: 'space', message, stack }
  return { kind: error instanceof StoreError ? 'store' : 'other', message, stack }
}

export function fromWire(error: WireError): Error {
  if (error.kind === 'conflict') {
    return new ConflictError(toOid(error.oid), toTid(error.base), toTid(error.current))
  }
  if (error.kind === 'missing') return new ObjectNotFoundError(toOid(error.oid), toTid(error.at))
  if (error.kind === 'corrupt') {
    return new CorruptRecordError(toOid(error.oid), toTid(error.tid), error.reason)
  }
  const Class = error.kind === 'space' ? NoSpaceError : error.kind === 'store' ? StoreError : Error
  const restored = new Class(error.message)
  // Where it happened is worth more than where it was unpacked.
  if (error.stack !== undefined) restored.stack = error.stack
  return restored
}
