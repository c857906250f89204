/** Names and messages on a terminal: no control character of a file's name or a message gets through. */
import { mkdir, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { expect, test } from 'vitest'
import { printable, printableLines, printablePath } from '../../core/printable.ts'
import { withMount } from '../tools/mounted.ts'
import { runZblkfs } from '../tools/run-zblkfs.ts'

test.each([
  ['plain name, é and 文', 'plain name, é and 文'],
  ['a\nb\tc\r', 'a\\nb\\tc\\r'],
  ['\x1b[2J', '\\x1b[2J'],
  ['\x7f\x9b', '\\x7f\\x9b'],
  ['a\u202eb', 'a\\u202eb'],
])('%j is shown as %s', (text, shown) => {
  expect(printable(text)).toBe(shown)
})

test('bytes that are not UTF-8 are escaped, line ends of the output are kept', () => {
  expect(printablePath('caf\xe9')).toBe('caf\\xe9')
  expect(printableLines('one\ntwo\x1b')).toBe('one\ntwo\\x1b')
})

test('no command prints control characters of names or messages', async () => {
  await withMount({}, async ({ dir }) => {
    const before = (await runZblkfs('sync', '-m', 'start', dir)).stdout.trim()
    const name = 'evil\x1b[2J\nforged'
    await writeFile(join(dir, name), 'x')
    await runZblkfs('sync', '-m', `message\x1b[31m\n${'0'.repeat(16)}`, dir)
    await runZblkfs('tag', 'v\x1b1', '--db', dir)
    for (const parameters of [
      ['log', dir],
      ['ls', dir],
      ['diff', before, 'now', dir],
      ['tag', '-l', '--db', dir],
      ['df', '--files', dir],
      ['cat', dir, `${name}-missing`],
      ['clone', join(dir, name), join(dir, `${name}-copy`)],
      ['restore', join(dir, name), '--at', 'now', '--to', join(dir, `${name}-restored`)],
    ]) {
      const { stdout, stderr } = await runZblkfs(...parameters)
      const shown = `${stdout}${stderr}`
      expect(shown).toContain('\\x1b')
      expect(shown).not.toContain('\x1b')
      expect(shown).not.toMatch(/^forged/m)
    }
  })
})

test('mount and umount print no control character of a path', async () => {
  await withMount({}, async ({ scratch }) => {
    const directory = join(scratch, 'evil\x1b[2J\nforged')
    await mkdir(directory)
    for (const parameters of [
      ['mount', join(scratch, 'other.zblk'), directory],
      ['umount', directory],
    ]) {
      const { exitCode, stdout, stderr } = await runZblkfs(...parameters)
      expect(stderr).toBe('')
      expect(exitCode).toBe(0)
      expect(stdout).toContain('evil\\x1b[2J\\nforged')
    }
  })
})
