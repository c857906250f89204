/** Time travel through the kernel: what it has cached is forgotten when what it shows is taken back. */
import { existsSync, readdirSync } from 'node:fs'
import { readFile, rename, unlink, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { expect, test } from 'vitest'
import { withMount } from '../tools/mounted.ts'
import { runProgram, runZblkfs, ZBLKFS } from '../tools/run-zblkfs.ts'

test('a transaction whose command fails leaves nothing, nor in the kernel caches', { timeout: 300_000 }, () =>
  withMount({ driver: 'kernel' }, async mount => {
    const { dir, db } = mount
    await writeFile(join(dir, 'kept'), 'before')
    await writeFile(join(dir, 'moved'), 'moved')
    const script = `cd ${dir} && echo changed > kept && mv moved away && echo x > new && cat kept new && false`
    const { exitCode, stderr } = await runZblkfs('txn', dir, '--', 'sh', '-c', script)
    expect(exitCode).toBe(1)
    expect(stderr).toContain('nothing has changed')
    expect(readdirSync(dir).sort()).toEqual(['kept', 'moved'])
    expect(await readFile(join(dir, 'kept'), 'utf8')).toBe('before')
    expect(existsSync(join(dir, 'new'))).toBe(false)

    const good = await runZblkfs(
      'txn',
      dir,
      '-m',
      'both',
      '--',
      'sh',
      '-c',
      `cd ${dir}; echo 1 > a; echo 2 > b`,
    )
    expect(good.exitCode).toBe(0)
    const { stdout } = await runZblkfs('log', '--json', '-n', '1', dir)
    expect(JSON.parse(stdout)).toMatchObject({
      message: 'both',
      changes: [{ path: 'a' }, { path: 'b' }],
    })

    // The command's process is killed: what it did is taken back.
    await runProgram('timeout', [
      '-s',
      'KILL',
      '3',
      ZBLKFS,
      'txn',
      dir,
      '--',
      'sh',
      '-c',
      `echo y > ${dir}/c; sleep 4`,
    ])
    await expect.poll(() => existsSync(join(dir, 'c')), { timeout: 10_000 }).toBe(false)
    await mount.unmount()
    expect((await runZblkfs('fsck', db)).exitCode).toBe(0)
  }),
)

test('the commands on a mount and on its database', { timeout: 300_000 }, () =>
  withMount({ driver: 'kernel' }, async mount => {
    const { dir, db } = mount
    const run = async (...parameters: string[]): Promise<string> => {
      const { exitCode, stdout, stderr } = await runZblkfs(...parameters)
      expect(exitCode, `zblkfs ${parameters.join(' ')}: ${stderr}`).toBe(0)
      return stdout.trim()
    }
    await writeFile(join(dir, 'file'), 'one')
    const one = await run('sync', dir)
    await run('tag', 'first', '--db', dir)
    await writeFile(join(dir, 'file'), 'twofold')
    const two = await run('sync', '-m', 'the second', dir)
    expect(await readFile(join(dir, '@first/file'), 'utf8')).toBe('one')
    expect(await run('diff', one, two, dir)).toContain('* file')
    await run('undo', two, '--db', dir)
    expect(await readFile(join(dir, 'file'), 'utf8')).toBe('one')
    await run('clone', join(dir, 'file'), join(dir, 'copy'))
    await run('restore', join(dir, 'file'), '--at', two)
    expect(await readFile(join(dir, 'file'), 'utf8')).toBe('twofold')
    await rename(join(dir, 'copy'), join(dir, 'renamed'))
    await unlink(join(dir, 'file'))
    await run('sync', dir)
    expect(await run('log', dir, 'renamed')).toContain('clone')
    expect((await runZblkfs('restore', join(dir, 'nothing'), '--at', two)).stderr).toContain('did not exist')
    await mount.unmount()
    await run('restore', 'file', '--at', 'first', '--db', db)
    expect(await run('cat', db, 'file')).toBe('one')
    expect(await run('cat', db, 'file', '--at', two)).toBe('twofold')
    expect(await run('ls', db)).toMatch(/file\n.*renamed/)
    expect(await run('tag', '-l', '--db', db)).toContain('first')
    expect(await run('log', db, '--since', two, '--json')).not.toContain(`"tid":"${two}"`)
    await run('tag', '-d', 'first', '--db', db)
    expect(await run('tag', '-l', '--db', db)).toBe('')
  }),
)

test('a database under load is copied consistently from a moment', { timeout: 300_000 }, () =>
  withMount({ driver: 'kernel' }, async ({ dir, scratch }) => {
    const script = join(scratch, 'load.mjs')
    await writeFile(
      script,
      `import Database from ${JSON.stringify(import.meta.resolve('better-sqlite3'))}
       const db = new Database(process.argv[2])
       db.pragma('journal_mode = DELETE')
       db.exec('CREATE TABLE t (a INTEGER PRIMARY KEY, b TEXT); CREATE TABLE sum (n INTEGER); INSERT INTO sum VALUES (0)')
       const end = Date.now() + 6000
       while (Date.now() < end) db.transaction(() => {
         for (let i = 0; i < 20; i++) db.prepare('INSERT INTO t (b) VALUES (?)').run('x'.repeat(300))
         db.exec('UPDATE sum SET n = n + 20')
       })()`,
    )
    const load = runProgram(process.execPath, [script, join(dir, 'live.db')])
    const copies: string[] = []
    for (let i = 0; i < 4; i++) {
      await new Promise(resolve => setTimeout(resolve, 1200))
      const tid = (await runZblkfs('sync', dir)).stdout.trim()
      const copy = join(scratch, `copy${i}.db`)
      for (const suffix of ['', '-journal']) {
        const from = join(dir, `@${tid}`, `live.db${suffix}`)
        if (existsSync(from)) expect((await runProgram('cp', [from, copy + suffix])).exitCode).toBe(0)
      }
      copies.push(copy)
    }
    expect(await load).toMatchObject({ exitCode: 0 })
    const check = `import Database from ${JSON.stringify(import.meta.resolve('better-sqlite3'))}
      const db = new Database(process.argv[1])
      console.log(db.pragma('integrity_check', { simple: true }), db.prepare('SELECT n = (SELECT count(*) FROM t) FROM sum').pluck().get())`
    for (const copy of copies) {
      const { stdout, stderr } = await runProgram(process.execPath, [
        '--input-type=module',
        '-e',
        check,
        copy,
      ])
      expect(`${stdout}${stderr}`.trim()).toBe('ok 1')
    }
  }),
)
