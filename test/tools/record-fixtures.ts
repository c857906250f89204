/** The real databases that the tests of records read. Those outside the repository may be missing. */
import { existsSync } from 'node:fs'
import { resolve } from 'node:path'

const own = resolve(import.meta.dirname, '../fixtures')
const shared = resolve(import.meta.dirname, '../../../shared/fixtures/zodb')

export interface Fixture {
  readonly name: string
  readonly path: string
  readonly writtenBy: 'python2' | 'python3'
  readonly missing: boolean
}

const fixture = (name: string, path: string, writtenBy: Fixture['writtenBy']): Fixture => ({
  name,
  path,
  writtenBy,
  missing: !existsSync(path),
})

export const FIXTURES: readonly Fixture[] = [
  fixture('tiny.fs', `${own}/tiny.fs`, 'python3'),
  fixture('small.fs', `${shared}/small.fs`, 'python3'),
  fixture('py3_pickle3', `${shared}/upstream/py3_pickle3/zblk.fs`, 'python3'),
  fixture('py2_pickle3', `${shared}/upstream/py2_pickle3/zblk.fs`, 'python2'),
  fixture('py2_pickle2', `${shared}/upstream/py2_pickle2/zblk.fs`, 'python2'),
  fixture('py2_pickle1', `${shared}/upstream/py2_pickle1/zblk.fs`, 'python2'),
]
