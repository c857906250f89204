/** `zblkfs replicate` keeps a standby, whatever is killed. */
import { spawn, type ChildProcess } from 'node:child_process'
import { once } from 'node:events'
import { existsSync } from 'node:fs'
import { chmod, mkdir, readFile, rm, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { createInterface } from 'node:readline'
import { expect, onTestFinished, test } from 'vitest'
import { open } from '../../index.ts'
import { withMount } from '../tools/mounted.ts'
import { runZblkfs, ZBLKFS } from '../tools/run-zblkfs.ts'
import { temporaryDatabase } from '../tools/temporary-database.ts'

const WAIT = { timeout: 60_000, interval: 100 }

function start(...parameters: readonly string[]): {
  readonly child: ChildProcess
  readonly lines: string[]
  readonly errors: string[]
} {
  const child = spawn(ZBLKFS, ['replicate', ...parameters], { stdio: ['ignore', 'pipe', 'pipe'] })
  onTestFinished(() => void child.kill('SIGKILL'))
  const [lines, errors]: [string[], string[]] = [[], []]
  createInterface({ input: child.stdout }).on('line', line => lines.push(line))
  createInterface({ input: child.stderr }).on('line', line => errors.push(line))
  return { child, lines, errors }
}

/** In place of ssh: runs the command on this machine; with a file `down` beside it, it fails; with `cut`, the stream is cut; with `kill`, the receiver is killed. */
async function fakeSsh(directory: string): Promise<string> {
  const path = join(directory, 'ssh')
  await writeFile(
    path,
    `#!/bin/sh
[ ! -e ${directory}/down ] || { echo no route to host >&2; exit 255; }
while [ "$1" != host ]; do shift; done
case $2 in *--state*) exec sh -c "$2" ;; esac
[ ! -e ${directory}/cut ] || { rm ${directory}/cut; head -c 300 | sh -c "$2"; exit; }
[ ! -e ${directory}/kill ] || { rm ${directory}/kill; setsid sh -c "$2" <&0 & sleep 0.4; kill -9 -$!; exit 1; }
exec sh -c "$2"
`,
  )
  await chmod(path, 0o755)
  return path
}

test('over ssh, with a read-only mount that follows, through failures', async () => {
  await withMount({}, async ({ dir, scratch }) => {
    const ssh = await fakeSsh(scratch)
    const standby = join(scratch, "stand'by.zblk")
    const shown = join(scratch, 'shown')
    await mkdir(shown)
    await writeFile(join(dir, 'a'), '1')
    const parameters = [
      dir,
      `ssh://host${standby}`,
      '--every',
      '200ms',
      '--ssh',
      ssh,
      '--remote-command',
      ZBLKFS,
    ]
    const first = start(...parameters)
    await expect.poll(() => first.lines.length, WAIT).toBeGreaterThan(0)
    expect(await runZblkfs('mount', standby, shown, '-o', 'ro')).toMatchObject({ exitCode: 0 })
    try {
      const shows = async (text: string): Promise<void> => {
        await expect.poll(() => readFile(join(shown, 'a'), 'utf8'), WAIT).toBe(text)
      }
      await writeFile(join(dir, 'a'), '2')
      await shows('2')
      await writeFile(join(scratch, 'cut'), '')
      await writeFile(join(dir, 'a'), '3')
      await shows('3')
      expect(first.errors.join('\n')).toContain('ends early')
      await writeFile(join(dir, 'big'), Buffer.alloc(20 << 20, 3))
      await writeFile(join(scratch, 'kill'), '')
      await writeFile(join(dir, 'a'), '3 again')
      await shows('3 again')
      expect(existsSync(join(scratch, 'kill'))).toBe(false)
      await writeFile(join(scratch, 'down'), '')
      await writeFile(join(dir, 'a'), '4')
      await expect.poll(() => first.errors.join('\n'), WAIT).toContain('no route to host')
      const killed = once(first.child, 'exit')
      first.child.kill('SIGKILL')
      await killed
      const refused = start(...parameters)
      expect(await once(refused.child, 'exit')).toEqual([1, null])
      await rm(join(scratch, 'down'))
      const second = start(...parameters)
      await shows('4')
      const ended = once(second.child, 'exit')
      second.child.kill('SIGTERM')
      expect(await ended).toEqual([0, null])
    } finally {
      await runZblkfs('umount', shown)
    }
  })
})

test('a standby drops what its source has dropped; a changed standby ends replication', async () => {
  const name = temporaryDatabase()
  const standby = temporaryDatabase()
  const change = async (database: string, path: string, size: number): Promise<void> => {
    const db = await open(database, { create: true })
    await db.files.writeFile(path, Buffer.alloc(size, 3))
    await db.close()
  }
  await change(name, '/a', 3 << 20)
  expect(await runZblkfs('replicate', name, standby)).toMatchObject({ exitCode: 0, stderr: '' })
  await change(name, '/a', 10)
  await runZblkfs('pack', '--keep', '0', name)
  expect(await runZblkfs('replicate', name, standby)).toMatchObject({ exitCode: 0, stderr: '' })
  const again = await runZblkfs('replicate', name, standby)
  expect(again).toMatchObject({ exitCode: 0, stdout: `${standby} has everything already\n`, stderr: '' })
  await change(name, '/b', 10)
  expect(await runZblkfs('replicate', name, standby)).toMatchObject({ exitCode: 0, stderr: '' })
  const { stdout } = await runZblkfs('df', '--json', standby)
  expect(JSON.parse(stdout)).toBeTruthy()
  expect((await runZblkfs('pack', standby)).stderr).toContain('is a copy of another database')
  await change(standby, '/own', 10)
  await change(name, '/c', 10)
  const diverged = await runZblkfs('replicate', name, standby, '--every', '1s')
  expect(diverged.exitCode).toBe(1)
  expect(diverged.stderr).toMatch(/diverged|no transaction/)
})

test('wrong options are reported', async () => {
  for (const [parameters, message] of [
    [['ssh://host'], 'write ssh://'],
    [['ssh://-oProxyCommand=x/db'], 'no such host'],
    [['ssh://-oX%zz@host/db'], 'no such host'],
    [['ssh://host/db', '--every', '10'], 'not an interval'],
    [['ssh://host/db', '--ssh', '/no/such/program'], 'cannot be started'],
  ] as const) {
    const refused = await runZblkfs('replicate', temporaryDatabase(), ...parameters)
    expect(refused.stderr, parameters.join(' ')).toContain(message)
  }
})
