/** The checker of test/consistency/writers.ts finds each broken promise. */
import { describe, expect, test } from 'vitest'
import { checkLinearisable, type Change, type Event, type Final, type Read } from './linearisable.ts'

const change = (
  kind: Change['kind'],
  value: string,
  [start, end]: readonly [number, number],
  more: Partial<Change> = {},
): Change => ({ kind, value, start, end, mount: 0, isSynced: false, isUnsure: false, ...more })

const read = (
  kind: Read['kind'],
  values: readonly string[],
  [start, end]: readonly [number, number],
  mount = 1,
): Read => ({ kind, values, start, end, mount })

const final = (log: readonly string[], directory: readonly string[] = [], register = ''): Final => ({
  log,
  directory,
  register,
})

describe('histories that keep the promises', () => {
  test.each<readonly [string, readonly Event[], Final]>([
    [
      'a read during an append',
      [change('append', 'a', [0, 10]), read('read log', [], [5, 6]), read('read log', ['a'], [11, 12])],
      final(['a']),
    ],
    [
      'overlapping appends in either order',
      [change('append', 'a', [0, 10]), change('append', 'b', [5, 15], { mount: 1 })],
      final(['b', 'a']),
    ],
    [
      'a failed append that took effect, or did not',
      [change('append', 'a', [0, Infinity]), change('append', 'b', [0, Infinity])],
      final(['a']),
    ],
    [
      'a line lost in a crash, seen on its own mount',
      [change('append', 'a', [0, 1], { isUnsure: true }), read('read log', ['a'], [2, 3], 0)],
      final([]),
    ],
    [
      'a register read during a write',
      [
        change('set', 'x', [0, 1]),
        change('set', 'y', [2, 10]),
        read('get', ['x'], [3, 4]),
        read('get', ['y'], [5, 6]),
        read('get', ['y'], [11, 12]),
      ],
      final([], [], 'y'),
    ],
  ])('%s', (_, events, last) => {
    expect(checkLinearisable(events, last)).toEqual([])
  })
})

describe('histories that break a promise', () => {
  test.each<readonly [string, readonly Event[], Final, string]>([
    [
      'a read without a line that was appended before',
      [change('append', 'a', [0, 1]), read('read log', [], [2, 3])],
      final(['a']),
      'did not show a',
    ],
    [
      'a read of a line from the future',
      [read('read log', ['a'], [0, 1]), change('append', 'a', [2, 3])],
      final(['a']),
      'before it was made',
    ],
    [
      'two orders',
      [
        change('append', 'a', [0, 10]),
        change('append', 'b', [0, 10]),
        read('read log', ['b', 'a'], [11, 12]),
      ],
      final(['a', 'b']),
      'another order',
    ],
    [
      'an order against time',
      [change('append', 'a', [0, 1]), change('append', 'b', [2, 3])],
      final(['b', 'a']),
      'appended later',
    ],
    ['a lost line', [change('append', 'a', [0, 1])], final([]), 'a is lost'],
    [
      'a lost line that was synced',
      [change('append', 'a', [0, 1], { isSynced: true, isUnsure: true })],
      final([]),
      'was synced',
    ],
    [
      'a lost line that another mount has shown',
      [change('append', 'a', [0, 1], { isUnsure: true }), read('read log', ['a'], [2, 3], 1)],
      final([]),
      'which is lost',
    ],
    ['a torn line', [change('append', 'ab', [0, 1])], final(['ab', 'b']), 'never made'],
    ['a line twice', [change('append', 'a', [0, 1])], final(['a', 'a']), 'twice'],
    [
      'a directory without a name',
      [change('mkdir', 'd', [0, 1]), read('readdir', [], [2, 3])],
      final([], ['d']),
      'did not show d',
    ],
    [
      'an old value',
      [change('set', 'x', [0, 1]), change('set', 'y', [2, 3]), read('get', ['x'], [4, 5])],
      final([], [], 'y'),
      'x was shown',
    ],
    [
      'a flicker',
      [
        change('set', 'x', [0, 1]),
        change('set', 'y', [2, 10]),
        read('get', ['y'], [3, 4]),
        read('get', ['x'], [5, 6]),
      ],
      final([], [], 'y'),
      'x was shown',
    ],
    [
      'the last value is lost',
      [change('set', 'x', [0, 1]), change('set', 'y', [2, 3])],
      final([], [], 'x'),
      'y was set in between',
    ],
    [
      'two makers of one name',
      [0, 1].map(mount => ({ kind: 'exclusive', name: 'n', mount, start: 0, end: 1, isUnsure: false })),
      final([]),
      'n was made by 0 and 1',
    ],
  ])('%s', (_, events, last, problem) => {
    expect(checkLinearisable(events, last).join('\n')).toContain(problem)
  })
})
