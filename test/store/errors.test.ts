/** Errors by their codes: what survives a thread or a socket. */
import { describe, expect, test } from 'vitest'
import {
  CannotOpenError,
  type CodedError,
  ConflictError,
  CorruptRecordError,
  fromWire,
  LockedError,
  NoSpaceError,
  ObjectNotFoundError,
  ReadOnlyError,
  StoreError,
  toWire,
  WriterGoneError,
} from '../../store/errors.ts'
import { oid, tid } from '../../store/ids.ts'

const ERRORS: readonly CodedError[] = [
  new StoreError('it failed'),
  new StoreError('no tag', { code: 'no-tag' }),
  new ConflictError(oid(5), tid(7n), tid(9n)),
  new ObjectNotFoundError(oid(5), tid(7n)),
  new ObjectNotFoundError(oid(5), tid(7n), { foreign: 'Data.fs' }),
  new CorruptRecordError(oid(5), tid(7n), 'its checksum differs'),
  new ReadOnlyError('only read'),
  new CannotOpenError('missing', { code: 'no-database', path: '/a' }),
  new CannotOpenError('strange'),
  new LockedError('/a', 'process 5'),
  new WriterGoneError('gone'),
  new NoSpaceError('full', { path: '/a' }),
]

describe('an error that crosses as JSON', () => {
  test.each(ERRORS.map(error => [error.code, error] as const))('keeps what it is: %s', (_, error) => {
    const restored = fromWire(JSON.parse(JSON.stringify(toWire(error))) as ReturnType<typeof toWire>)
    expect(restored.constructor).toBe(error.constructor)
    expect(restored).toMatchObject(Object.fromEntries(Object.entries(error)))
    expect(restored.message).toBe(error.message)
    expect(restored.stack).toBe(error.stack)
    expect((restored as CodedError).kind).toBe(error.kind)
  })

  test('keeps the code of a foreign error', () => {
    const error = Object.assign(new Error('EIO: broken'), { code: 'EIO' })
    expect(fromWire(toWire(error))).toMatchObject({ message: 'EIO: broken', code: 'EIO' })
    expect(fromWire(toWire('thrown'))).toMatchObject({ message: 'thrown' })
  })

  test('is a plain error if its details are damaged', () => {
    const error = fromWire({ code: 'conflict', message: 'clash', details: { oid: 'x' } })
    expect(error).toBeInstanceOf(StoreError)
    expect(error).toMatchObject({ code: 'conflict', kind: 'refresh', message: 'clash' })
  })
})

test('the kind states what the caller must do', () => {
  expect(ERRORS.map(({ code, kind }) => `${code}: ${kind}`)).toEqual([
    'failed: give up',
    'no-tag: give up',
    'conflict: refresh',
    'object-not-found: repair',
    'object-not-found: repair',
    'corrupt-record: repair',
    'read-only: give up',
    'no-database: give up',
    'cannot-open: give up',
    'locked: retry',
    'writer-gone: give up',
    'no-space: retry',
  ])
})
