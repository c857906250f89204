/** Names that are not UTF-8, on the command line: a shell gives the bytes, as Node cannot. */
import { mkdtemp, readdir, readFile, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { expect, test } from 'vitest'
import { bytesOf, isOdd, pathOf, textOf } from '../../store/os-text.ts'
import { startable } from '../../store/os-command.ts'
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

/** Runs `script` in an empty directory whose own name is not UTF-8, in `$d`; nothing stays mounted there. */
async function inOddDirectory(script: string): Promise<string> {
  const scratch = await mkdtemp(join(tmpdir(), 'zblkfs-test-'))
  const CLEAN = 'for m in "$d"/* "$d"; do umount -l "$m" 2>/dev/null; done'
  try {
    return await shell(
      `d="$2/$n"; mkdir "$d"; cd "$d"; z() { timeout 60 "$ZBLKFS" "$@"; }; ZBLKFS=$1
      trap '(${CLEAN}) || true' EXIT
      ${script}`,
      ZBLKFS,
      scratch,
    )
  } finally {
    await rm(scratch, { recursive: true, force: true })
  }
}

test('a database and a mount point may have such names, as may the working directory', async () => {
  const output = await inOddDirectory(`
    mkdir m$t; z mount db$t m$t
    echo one > m$t/f; z sync m$t; z tag v1 --db m$t
    echo two > m$t/f; z pack "$d/m$t"; z cat m$t/@v1/f; z cat --at v1 db$t f
    ! z mount db$t m$t 2>&1; z status -z | tr '\\0' '\\n' | grep -ac "/m$t  /" ; z status --json | grep 'dbt.udcff'
    z umount m$t; z fsck --data db$t
    cd m$t; z mount ../db$t .; cd ..; mv db$t moved$t; head -c 3M /dev/urandom > m$t/g; echo three > m$t/f; z sync m$t; z umount m$t; z cat moved$t f
    ls -b`)
  expect(output).toContain('v1 is ')
  expect(output).toMatch(/\none\none\n[^]*unmount it first with 'zblkfs umount [^]*\n1\n[^]*udcff/)
  expect(output).toMatch(/dbt\\xff is clean[^]*\nthree\n/)
  expect(output).toMatch(/^movedt\\377-log$/m)
  // Nothing has a name with U+FFFD, or stayed under the old name.
  expect(output).not.toMatch(/\\357\\277\\275|dbt\\377-log/)
})

test('databases with such names are exported, imported, sent, copied and backed up', async () => {
  const output = await inOddDirectory(`
    mkdir m; z mount db$t m; echo one > m/f; z umount m
    z export db$t fs$t; z import fs$t i$t; z cat i$t f; z df fs$t
    z send db$t 2>/dev/null | z receive r$t; z cat r$t f; z copy db$t c$t; z backup db$t b$t; ls -b b$t
    z branch db$t b1; z mount db$t m -o branch=b1; cat m/f; z umount m`)
  expect(output.match(/^one$/gm)).toHaveLength(3)
  expect(output).toContain('fst\\xff, a ZODB database')
  expect(output).toMatch(/backed up and verified .* bt\\xff has everything/)
})

test('a dead mount at such a name is named as it can be typed, and removed', async () => {
  const output = await inOddDirectory(`
    mkdir m$t; z mount db$t m$t
    kill -9 $(z status --json | grep -B2 'mt.udcff' | sed -n 's/.*"pid": *//p' | tr -d ,)
    z sync m$t 2>&1 || z umount -l m$t; z mount db$t m$t; z umount m$t`)
  expect(output).toMatch(/zblkfs umount -l \$'.*mt\\xff'/)
})

test('a database that was removed while mounted is saved under such a name', async () => {
  await inOddDirectory(`
    mkdir m; z mount db$t m; head -c 3000000 /dev/urandom > m/f; z sync m >/dev/null; rm -r db$t*
    z rescue m s$t >/dev/null; z umount -l m 2>/dev/null || z umount --discard m 2>/dev/null; z fsck --data s$t >/dev/null`)
})

test('an error about the command line quotes its words', async () => {
  const script = String.raw`"$1" status "$t" "$(printf 'x\033[2J')" 2>&1 || true`
  expect(await shell(script, ZBLKFS)).toContain(String.raw`t\xff, x\x1b[2J`)
})

test('white space at the end of a name belongs to it', async () => {
  await inOddDirectory(`
    mkdir m; z mount 'a.db ' m; echo one > m/f; z umount m; [ -e 'a.db ' ]; [ ! -e a.db ]; [ "$(z cat 'a.db ' f)" = one ]`)
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
