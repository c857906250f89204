/** Names that are not UTF-8, on the command line: a shell gives the bytes, as Node cannot. */
import { readdir, readFile } from 'node:fs/promises'
import { join } from 'node:path'
import { expect, test } from 'vitest'
import { bytesOf, isOdd, pathOf, textOf } from '../../store/os-text.ts'
import { startable } from '../../scripts/arguments.ts'
import { withMount } from '../tools/mounted.ts'
import { runProgram, ZBLKFS } from '../tools/run-zblkfs.ts'

/** Bytes that are no UTF-8, and a newline. */
const ODD = Buffer.from('a\xff\x80\n', 'latin1')
/** The same for printf(1), in a shell's variable `n`; a command substitution would drop the newline. */
const SET_N = String.raw`n=$(printf 'a\377\200\nx'); n=${'${n%x}'}; t=$(printf 't\377')`

async function shell(script: string, ...parameters: readonly string[]): Promise<string> {
  const { exitCode, stdout, stderr } = await runProgram('sh', [
    '-ec',
    `${SET_N}\n${script}`,
    'sh',
    ...parameters,
  ])
  expect([exitCode, stderr]).toEqual([0, expect.not.stringContaining('Error')])
  return stdout
}

test('texts preserve every byte', () => {
  const all = Buffer.from(Array.from({ length: 256 }, (_, byte) => byte))
  for (const bytes of [
    all,
    ODD,
    Buffer.from('grün 😀 \u{10480}'),
    Buffer.from([0xed, 0xb2, 0x80]),
    Buffer.from([0xf0, 0x9f]),
  ])
    expect(bytesOf(textOf(bytes))).toEqual(bytes)
  expect([isOdd('grün \u{10480}'), isOdd(textOf(ODD))]).toEqual([false, true])
  expect([pathOf('grün'), pathOf(textOf(ODD))]).toEqual(['grün', ODD])
  expect(startable(['ls', '-l', 'grün'])).toEqual(['ls', '-l', 'grün'])
})

test('a command of txn receives the typed bytes, also in its environment', async () => {
  await withMount({}, async ({ dir }) => {
    const script = `cd "$2"; V=$n; export V; "$1" txn "$2" -- sh -c 'printf %s "$V" > "$1"' 'it'"'"'s $(x)' "$n"`
    await shell(script, ZBLKFS, dir)
    const names = await readdir(dir, { encoding: 'buffer' })
    expect(names).toEqual([ODD])
    expect(await readFile(Buffer.concat([Buffer.from(`${dir}/`), ODD]))).toEqual(ODD)
    await shell(`! "$1" txn "$2" -- sh -c 'exit 7' "$n" 2>/dev/null`, ZBLKFS, dir)
  })
})

test('cat, ls, log, tag, clone, restore, diff and sync accept them', async () => {
  await withMount({}, async ({ dir, db }) => {
    const run = async (script: string): Promise<string> => await shell(script, ZBLKFS, dir, db)
    await run(
      'printf one > "$2/$n"; mkdir "$2/d$n"; printf below > "$2/d$n/f"; "$1" sync "$2/$n"; "$1" tag "$t" --db "$3"',
    )
    await run('printf two > "$2/$n"; "$1" sync "$2"')
    expect(await run('"$1" cat "$2/$n"')).toBe('two')
    expect(await run('"$1" cat "$3" "$n"')).toBe('two')
    expect(await run('cd "$2/d$n"; "$1" cat f; cd ..; "$1" cat "d$n/f"')).toBe('belowbelow')
    expect(await run('"$1" cat --at "$t" "$2/$n"')).toBe('one')
    expect(await run('"$1" cat "$2/@$t/$n"')).toBe('one')
    expect(await run('"$1" ls "$2/@$t/d$n"')).toContain('f')
    expect((await run('"$1" log --json "$2/$n"')).trim().split('\n')).toHaveLength(2)
    expect(await run('"$1" diff "$t" now "$2/$n"')).not.toBe('')
    await run('"$1" clone "$2/$n" "$2/c$n"; "$1" restore "$2/$n" --at "$t"')
    const text = async (name: Buffer): Promise<string> =>
      await readFile(Buffer.concat([Buffer.from(`${dir}/`), name]), 'latin1')
    expect([await text(ODD), await text(Buffer.concat([Buffer.from('c'), ODD]))]).toEqual(['one', 'two'])
    await run('"$1" tag -d "$t" --db "$3"')
    expect(await run('"$1" tag -l --db "$3"')).toBe('')
    expect((await readdir(join(dir), { encoding: 'buffer' })).length).toBe(3)
  })
})

test('a database or a mount point with such a name is refused with the reason', async () => {
  const { exitCode, stderr } = await runProgram('sh', ['-c', `${SET_N}\n"$1" mount "$n" /tmp`, 'sh', ZBLKFS])
  expect(exitCode).toBe(2)
  expect(stderr).toContain('have to be UTF-8')
})

test('with -z lines end in NUL, and names and messages are printed byte for byte', async () => {
  await withMount({}, async ({ dir, db }) => {
    const run = async (script: string): Promise<string> =>
      Buffer.from(await shell(`${script} | base64 -w0`, ZBLKFS, dir, db), 'base64').toString('latin1')
    const odd = ODD.toString('latin1')
    await run('printf one > "$2/first"; "$1" sync "$2"; "$1" tag "$t" --db "$3"')
    await run(`printf two > "$2/$n"; ln -s "$n" "$2/link"; "$1" sync "$2" -m "ü$n"`)
    const lines = (text: string): string[] => {
      expect(text.endsWith('\0')).toBe(true)
      return text.split('\0').slice(0, -1)
    }
    const ends = async (script: string): Promise<string[]> =>
      lines(await run(script)).map(line => line.replace(/^.*?([+-]\d\d:?\d\d|Z) {2}/, ''))
    expect(await ends('"$1" ls -z "$3"')).toEqual([odd, 'first', `link -> ${odd}`])
    expect(await ends('"$1" tag -l -z --db "$3"')).toEqual(['t\xff'])
    const differences = lines(await run('"$1" diff -z "$t" now --db "$3"'))
    expect(differences).toEqual(expect.arrayContaining([`+ ${odd}`, '+ link']))
    const logged = lines(await run('"$1" log -z "$3"'))
    expect(logged).toEqual(expect.arrayContaining([`  A  ${odd}`, '  A  link']))
    expect(logged).toContain(`    \xc3\xbc${odd}`)
    expect(await run('"$1" log "$3"')).toContain('    \xc3\xbca\\xff\\x80\\n\n')
    await run('"$1" txn "$2" -m "$t" -- touch "$2/first"')
    expect(lines(await run('"$1" log -z -n 1 "$3"'))).toContain('    t\xff')
    expect(lines(await run('"$1" status -z')).filter(line => line.startsWith(`${dir}  ${db}`))).toHaveLength(
      1,
    )

    const { stdout } = await runProgram(ZBLKFS, ['ls', '--json', db])
    const entries = stdout.trimEnd().split('\n')
    expect(entries).toHaveLength(3)
    expect(JSON.parse(entries[1] ?? '')).toMatchObject({
      name: 'first',
      type: 'file',
      mode: '100644',
      size: '3',
    })
    expect(JSON.parse(entries[2] ?? '')).toMatchObject({ name: 'link', type: 'symlink' })
  })
})
