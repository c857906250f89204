/** Encryption as a person sets and uses it: mounts, commands, streams, and where the key must not be. */
import { randomBytes } from 'node:crypto'
import { existsSync, readdirSync, readFileSync, writeFileSync } from 'node:fs'
import { writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { koffi } from '../../store/koffi.ts'
import { describe, expect, test } from 'vitest'
import { open } from '../../index.ts'
import { withMount } from '../tools/mounted.ts'
import { runProgram, runZblkfs, ZBLKFS, zblkfsOutput } from '../tools/run-zblkfs.ts'
import { temporaryDatabase } from '../tools/temporary-database.ts'

/** Writes a key file next to a database. */
function keyFile(database: string, name = 'key'): string {
  const path = `${database}.${name}`
  writeFileSync(path, randomBytes(32))
  return path
}

async function make(path: string, file: string): Promise<void> {
  const key = async (): Promise<{ kind: 'file'; bytes: Buffer }> => ({
    kind: 'file',
    bytes: readFileSync(file),
  })
  const db = await open(path, { create: true, encryption: 'aes-256-gcm', key })
  await db.files.writeFile('SECRET', 'a hidden text')
  await db.files.writeFile('long', randomBytes(100_000))
  await db.close()
}

describe('an encrypted database', () => {
  test('is mounted with a key file, and the key is in no argument, variable, log or core dump', async () => {
    const database = temporaryDatabase()
    const file = keyFile(database)
    const key = readFileSync(file)
    const options = ['encryption=aes-256-gcm', `key_file=${file}`]
    await withMount({ db: database, options }, async mount => {
      const { dir } = mount
      await writeFile(join(dir, 'SECRET'), 'a hidden text')
      await writeFile(join(dir, 'long'), randomBytes(100_000))
      for (const name of ['cmdline', 'environ'])
        expect(readFileSync(`/proc/${mount.pid()}/${name}`).includes(key)).toBe(false)
      await mount.remount()
      expect(readFileSync(join(dir, 'SECRET'), 'utf8')).toBe('a hidden text')
    })
    const files = [database, ...readdirSync(`${database}-log`).map(name => join(`${database}-log`, name))]
    for (const path of files.filter(one => existsSync(one))) {
      const bytes = readFileSync(path)
      for (const text of ['SECRET', 'a hidden text', key]) expect(bytes.includes(text)).toBe(false)
    }
    const missing = await runZblkfs('ls', database)
    expect(missing).toMatchObject({ exitCode: 1, stdout: '' })
    expect(missing.stderr).toMatch(/^zblkfs: .* is encrypted, and no key was given: .*--key-file.*\n$/)
    const wrong = await runZblkfs('log', database, '--key-file', keyFile(database, 'wrong'))
    expect(wrong).toMatchObject({ exitCode: 1, stdout: '' })
    expect(wrong.stderr).toMatch(/^zblkfs: .* cannot be opened with this key file\n$/)
    const absent = await runZblkfs('log', database, '--key-file', `${file}.absent`)
    expect(absent.stderr).toMatch(/^zblkfs: the key file .*\.absent cannot be read: there is no such file\n$/)
    const failed = await runZblkfs('log', database, '--key-command', 'exit 3')
    expect(failed.stderr).toBe('zblkfs: the key command failed (exit code 3): exit 3\n')
    const short = `${database}.short`
    writeFileSync(short, 'short')
    expect(
      (await runZblkfs('mount', `${database}.2`, '/mnt', '-o', `encryption=aes-256-gcm,key_file=${short}`))
        .exitCode,
    ).toBe(1)
  })

  test('changes its keys without rewriting data', async () => {
    const database = temporaryDatabase()
    const [first, second] = [keyFile(database), keyFile(database, 'second')]
    await make(database, first)
    const segments = (): Buffer[] =>
      readdirSync(`${database}-log`).map(name => readFileSync(join(`${database}-log`, name)))
    const before = segments()
    expect(await zblkfsOutput('key', database)).toBe('key file  (hkdf-sha256)\n')
    const change = [
      'key',
      database,
      '--key-file',
      first,
      '--change',
      '--new-key-command',
      'echo a passphrase',
    ]
    await zblkfsOutput(...change)
    expect((await runZblkfs('ls', database, '--key-file', first)).exitCode).toBe(1)
    const phrase = ['--key-command', "printf 'a passphrase'"]
    await zblkfsOutput('key', database, ...phrase, '--add', 'second', '--new-key-file', second)
    const env = `ZBLKFS_KEY_FILE=${second}`
    expect((await runProgram('env', [env, ZBLKFS, 'cat', database, 'SECRET'])).stdout).toBe('a hidden text')
    await zblkfsOutput('key', database, '--key-file', second, '--remove', 'key file')
    expect(segments()).toEqual(before)
    expect((await runZblkfs('key', database, '--key-file', second, '--remove', 'second')).stderr).toContain(
      'the only key slot',
    )
  })

  test('is checked without its key, which says what it could not check', async () => {
    const database = temporaryDatabase()
    const file = keyFile(database)
    await make(database, file)
    expect(await zblkfsOutput('fsck', '--data', database)).toContain(
      'no key was given, so that only checksums and counts',
    )
    expect(await zblkfsOutput('fsck', '--data', database, '--key-file', file)).toContain(
      '3 files and directories, every byte',
    )
    expect((await runZblkfs('fsck', '--repair', database)).stderr).toContain('no key was given')
  })

  test('shows sizes and times without its key, and says what it cannot show', async () => {
    const database = temporaryDatabase()
    const file = keyFile(database)
    await make(database, file)
    const key = ['--key-file', file]
    const legible = await runZblkfs('df', database)
    expect(legible.exitCode).toBe(0)
    expect(legible.stderr).toContain('no key was given')
    expect(legible.stdout).not.toContain('files and directories')
    const [known, lacking] = await Promise.all(
      [key, []].map(
        async options =>
          JSON.parse((await runZblkfs('df', database, '--json', ...options)).stdout) as Record<
            string,
            number
          >,
      ),
    )
    for (const field of ['fileBytes', 'freeBytes', 'liveBytes', 'objects', 'revisions', 'history'])
      expect([field, lacking?.[field]]).toEqual([field, known?.[field]])
    expect(Object.keys(known ?? {}).filter(field => !(field in (lacking ?? {})))).toEqual([
      'packFreesBytes',
      'packTo',
      'inodes',
    ])
    for (const option of [['--files'], ['--exact'], ['--to', 'now']])
      expect(await runZblkfs('df', database, ...option)).toMatchObject({ exitCode: 2, stdout: '' })

    const log = await runZblkfs('log', database)
    expect(log.exitCode).toBe(0)
    expect(log.stderr).toBe('zblkfs: no key was given: messages and the names of files are encrypted\n')
    const tids = (text: string): readonly string[] => text.match(/\b[0-9a-f]{16}\b/g) ?? []
    expect(tids(log.stdout)).toEqual(tids(await zblkfsOutput('log', '--oneline', database, ...key)))
    expect(log.stdout).toMatch(/ objects?, [0-9.]+ /)
    for (const options of [['SECRET'], ['--grep', 'x'], ['-p'], ['*.txt'], ['--until', 'a tag']]) {
      const refused = await runZblkfs('log', database, ...options)
      expect([options, refused.exitCode, refused.stdout]).toEqual([options, 1, ''])
      expect(refused.stderr).toContain('no key was given')
    }
    expect((await runZblkfs('pack', database)).stderr).toContain('no key was given')
  })

  test('is sent, received, backed up and copied encrypted', async () => {
    const database = temporaryDatabase()
    const file = keyFile(database)
    await make(database, file)
    const key = ['--key-file', file]
    const stream = `${database}.stream`
    await runProgram('sh', ['-c', `${ZBLKFS} send ${key.join(' ')} ${database} > ${stream}`])
    const sent = readFileSync(stream)
    expect(sent.includes('SECRET') || sent.includes('hidden')).toBe(false)
    const received = `${database}.received`
    const receive = (
      target: string,
      ...more: string[]
    ): Promise<{ exitCode: number | undefined; stderr: string }> =>
      runProgram('sh', ['-c', `${ZBLKFS} receive ${more.join(' ')} ${target} < ${stream}`])
    expect((await receive(received)).stderr).toContain('the stream is encrypted, and no key was given')
    expect(existsSync(received)).toBe(false)
    expect((await receive(received, ...key)).exitCode).toBe(0)
    expect(await zblkfsOutput('cat', received, 'SECRET', ...key)).toBe('a hidden text')
    expect(readFileSync(received).includes('SECRET')).toBe(false)
    sent[sent.length - 1]! ^= 1
    writeFileSync(stream, sent)
    expect((await receive(`${database}.flipped`, ...key)).stderr).toContain(
      'not encrypted with its key for this place',
    )
    await zblkfsOutput('backup', database, `${database}.backup`, ...key)
    expect(await zblkfsOutput('backup', database, `${database}.backup`, ...key)).toContain(
      'nothing has changed',
    )
    await zblkfsOutput('copy', database, `${database}.copy`, ...key)
    expect((await runZblkfs('ls', `${database}.copy`)).exitCode).toBe(1)
    await zblkfsOutput('copy', '--encryption', 'off', database, `${database}.plain`, ...key)
    expect(await zblkfsOutput('ls', `${database}.plain`)).toContain('SECRET')
  })
})

test('is backed up, sent and restored as it is stored, while it is mounted, by a user without the key', async () => {
  const database = temporaryDatabase()
  const file = keyFile(database)
  const target = `${database}.raw`
  const copy = `${database}.copy`
  const options = ['encryption=aes-256-gcm', `key_file=${file}`]
  await withMount({ db: database, options }, async ({ dir }) => {
    await writeFile(join(dir, 'SECRET'), 'a hidden text')
    await writeFile(join(dir, 'long'), randomBytes(3 << 20))
    const first = await runZblkfs('backup', '--raw', dir, target)
    expect(first.stdout).toMatch(/^backed up and verified 3\.\d MiB in \d+ transactions, 1 file; /)
    expect(first.stderr).toBe('')
    await writeFile(join(dir, 'next'), 'something')
    expect(await zblkfsOutput('backup', '--raw', '--verify', database, target)).toMatch(
      /verified all 3\.\d MiB/,
    )
    expect(await zblkfsOutput('backup', '--raw', database, target)).toContain('nothing has changed')
    await zblkfsOutput('receive', copy, target)
    const { tid } = JSON.parse(await zblkfsOutput('receive', '--state', copy)) as { readonly tid: string }
    await writeFile(join(dir, 'last'), 'x')
    await zblkfsOutput('sync', dir)
    const cut = `${ZBLKFS} send --raw --from ${tid} ${dir} | head -c 400 | ${ZBLKFS} receive ${copy}`
    const { stderr } = await runProgram('sh', ['-c', cut])
    expect(stderr).toContain(`continue with 'zblkfs send --raw SOURCE --from ${tid}'`)
    const pipe = `${ZBLKFS} send --raw --from ${tid} ${dir} | ${ZBLKFS} receive ${copy}`
    expect(await runProgram('sh', ['-c', pipe])).toMatchObject({ exitCode: 0, stderr: '' })
  })
  for (const path of [copy, ...readdirSync(target).map(name => join(target, name))])
    for (const text of ['SECRET', 'hidden']) expect(readFileSync(path).includes(text)).toBe(false)
  expect(await zblkfsOutput('fsck', '--data', copy)).toContain('no key')
  expect((await runZblkfs('ls', copy)).stderr).toContain('no key was given')
  expect(await zblkfsOutput('ls', copy, '--key-file', file)).toMatch(/SECRET[^]*last[^]*long[^]*next/)
  expect(await zblkfsOutput('cat', copy, 'SECRET', '--key-file', file)).toBe('a hidden text')
  const refusals: readonly (readonly [readonly string[], string])[] = [
    [['send', '--raw', '--to', '1h', database], '--raw goes with --from only'],
    [['send', '--raw', '--from', '1h', database], 'with --raw it is a tid of 16 hex digits'],
    [['send', '--raw', '--from', '0000000000000001', database], 'has no transaction 0000000000000001'],
    [['backup', database, target, '--key-file', file], 'has raw streams: name another directory'],
  ]
  for (const [parameters, message] of refusals) {
    const { exitCode, stderr } = await runZblkfs(...parameters)
    expect([parameters, exitCode === 0, stderr]).toEqual([
      parameters,
      false,
      expect.stringContaining(message),
    ])
  }
})

test('a process that has a key is not dumpable', async () => {
  const database = temporaryDatabase()
  await make(database, keyFile(database))
  const prctl = koffi
    .load(null)
    .func('int prctl(int option, unsigned long a, unsigned long b, unsigned long c, unsigned long d)') as (
    ...values: readonly number[]
  ) => number
  const GET_DUMPABLE = 3
  expect(prctl(GET_DUMPABLE, 0, 0, 0, 0)).toBe(0)
})
