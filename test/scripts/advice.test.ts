/** Commands that help are named in scripts/ alone. */
import { readFileSync } from 'node:fs'
import { join } from 'node:path'
import { globSync } from 'node:fs'
import { expect, test } from 'vitest'
import { explain } from '../../scripts/advice.ts'
import { CorruptRecordError, LockedError, StoreError } from '../../store/errors.ts'
import { oid, tid } from '../../store/ids.ts'

const ROOT = join(import.meta.dirname, '../..')
/** A command, or an option of a command or a mount, in the text of a message: after other words, and not in a comment. */
const COMMAND =
  /^(?!\s*(?:\*|\/\*|\/\/)).*['"`].*(?:'zblkfs [a-z]| -o [a-z]+| --[a-z]{2,}|apt-get|modprobe|chmod \d|npm install|'createdb)/m

/** Text that names a command and is no message: the head of a patch, the description of the transactions of a repair. */
const NO_MESSAGE = /diff --git|'zblkfs fsck --repair'/g

test('no message below scripts/ names a command', () => {
  const named = ['store', 'core', 'mount']
    .flatMap(directory => globSync(`${directory}/**/*.ts`, { cwd: ROOT }))
    .filter(file => COMMAND.test(readFileSync(join(ROOT, file), 'utf8').replaceAll(NO_MESSAGE, '')))
  expect(named).toEqual([])
})

test('advice follows what failed', () => {
  expect(explain(new LockedError('/db', 'process 7'))).toBe(
    '/db is in use by process 7: unmount it there first, or mount it read-only with -o ro',
  )
  expect(explain(new StoreError('/m is in use', { code: 'mount-in-use', path: '/m' }))).toContain(
    "'zblkfs umount -l /m'",
  )
  expect(explain(new StoreError('/m n is in use', { code: 'mount-in-use', path: '/m n' }))).toContain(
    "'zblkfs umount -l '/m n''",
  )
  expect(explain(new StoreError('it failed'))).toBe('it failed')
})

test('damage of a ZODB database is not for our fsck', () => {
  const reason = [oid(1), tid(1n), 'short'] as const
  expect(explain(new CorruptRecordError(...reason))).toContain('zblkfs fsck')
  const foreign = explain(new CorruptRecordError(...reason, { foreign: 'Data.fs' }))
  expect(foreign).toContain('fsrefs')
  expect(foreign).not.toContain('zblkfs fsck')
})
