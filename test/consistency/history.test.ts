/** The checker finds each kind of broken promise. */
import { expect, test } from 'vitest'
import { checkHistory, type HistoryEvent } from './history.ts'

const write = (file: number): HistoryEvent => ({ kind: 'write', file })
const synced = (number: number): HistoryEvent => ({ kind: 'synced', write: number })
const crash = (...files: number[]): HistoryEvent => ({ kind: 'crash', files })
const view = (mount: string, tid: string, ...files: number[]): HistoryEvent => ({
  kind: 'view',
  mount,
  tid,
  files,
})
const end = (mount: string, ...files: number[]): HistoryEvent => ({ kind: 'end', mount, files })

test('a history without violations passes', () => {
  const history = [
    view('a', '1', 0, 0),
    write(0),
    write(1),
    view('a', '2', 1, 0),
    synced(2),
    write(0),
    write(1),
    view('a', '3', 3, 2),
    crash(3, 2),
    write(1),
    view('b', '3', 3, 2),
    view('b', '4', 3, 5),
    view('a', '4', 3, 5),
    end('a', 3, 5),
    end('b', 3, 5),
  ]
  expect(checkHistory(history)).toEqual([])
})

test.each([
  ['a later write without an earlier one', [write(0), write(1), view('a', '1', 0, 2)], 'not a prefix'],
  ['a write that was never made', [write(0), view('a', '1', 9, 0)], 'not a prefix'],
  ["another file's write", [write(0), view('a', '1', 0, 1)], 'not a prefix'],
  ['a crash that loses what was synced', [write(0), write(1), synced(2), crash(1, 0)], 'was synced'],
  ['a crash that leaves no prefix', [write(0), write(1), crash(0, 2)], 'not a prefix'],
  ['a lost write, shown before the crash', [write(0), view('a', '1', 1, 0), crash(0, 0)], 'not a prefix'],
  ['a lost write, shown after it', [write(0), crash(0, 0), write(1), view('a', '1', 1, 2)], 'not a prefix'],
  ['an older view after a newer one', [write(0), view('a', '2', 1, 0), view('a', '1', 0, 0)], 'went back'],
  ['an older state at a newer tid', [write(0), view('a', '1', 1, 0), view('a', '2', 0, 0)], 'went back'],
  ['a moment that differs', [write(0), view('a', '1', 1, 0), view('b', '1', 0, 0)], 'elsewhere'],
  [
    'a later moment with an earlier prefix',
    [write(0), view('a', '1', 1, 0), view('b', '2', 0, 0)],
    'an earlier moment',
  ],
  ['a mount that stays behind', [write(0), view('a', '1', 0, 0), end('a', 0, 0)], 'in the end'],
])('%s is found', (_, history, found) => {
  const problems = checkHistory(history)
  expect(problems.join('\n')).toContain(found)
})
