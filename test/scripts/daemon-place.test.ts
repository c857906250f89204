/** What a daemon takes from the process that starts it, and which signals it obeys. */
import { readdirSync, readFileSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { expect, test } from 'vitest'
import { isRunning } from '../../mount/daemon/is-running.ts'
import { withMount } from '../tools/mounted.ts'
import { runProgram, runZblkfs, ZBLKFS } from '../tools/run-zblkfs.ts'

test('the daemon does not inherit a lock of its caller', async () => {
  await withMount({}, async mount => {
    const { dir, db, scratch } = mount
    await mount.unmount()
    const lock = join(scratch, 'lock')
    writeFileSync(lock, '')
    const script = 'exec 200>"$1"; flock 200; "$2" mount "$3" "$4"'
    const mounted = await runProgram('bash', ['-c', script, 'bash', lock, ZBLKFS, db, dir])
    expect(mounted).toMatchObject({ exitCode: 0, stderr: '' })
    expect(await runProgram('flock', ['-n', lock, 'true'])).toMatchObject({ exitCode: 0 })
  })
})

test('undocumented signals are ignored', async () => {
  await withMount({}, async mount => {
    const { dir } = mount
    const daemon = mount.pid()
    const sockets = (): number =>
      readdirSync(`/proc/${daemon}/task`).length > 0
        ? readFileSync(`/proc/${daemon}/net/tcp`, 'utf8')
            .split('\n')
            .filter(line => line.includes(':240D ')).length
        : 0
    const before = sockets()
    for (const signal of ['SIGUSR1', 'SIGUSR2', 'SIGALRM'] as const) process.kill(daemon, signal)
    await sleep(500)
    expect(sockets()).toBe(before)
    expect(await runZblkfs('sync', dir)).toMatchObject({ exitCode: 0 })
  })
})

test('every command reports a stopped daemon within seconds', async () => {
  await withMount({}, async mount => {
    const { dir } = mount
    const daemon = mount.pid()
    process.kill(daemon, 'SIGSTOP')
    try {
      const commands = [
        ['log', dir],
        ['ls', dir],
        ['cat', join(dir, 'f')],
        ['diff', '1h', 'now', dir],
        ['restore', join(dir, 'f'), '--at', '1h'],
        ['sync', dir],
        ['umount', dir],
        ['txn', dir, '--', 'true'],
      ]
      const startedMs = Date.now()
      const results = await Promise.all(commands.map(parameters => runZblkfs(...parameters)))
      expect(Date.now() - startedMs).toBeLessThan(30_000)
      for (const { exitCode, stderr } of results) {
        expect(exitCode).toBe(1)
        expect(stderr).toMatch(/has not answered within 5 s; .*|remove the mount with/)
        expect(stderr).not.toMatch(/^\s+at /m)
      }
    } finally {
      process.kill(daemon, 'SIGCONT')
    }
  })
})

test('every command reports a dead daemon and the next step', async () => {
  await withMount({}, async mount => {
    const { dir, db } = mount
    process.kill(mount.pid(), 'SIGKILL')
    await expect.poll(() => isRunning(mount.pid()), { timeout: 10_000 }).toBe(false)
    for (const parameters of [
      ['log', dir],
      ['ls', dir],
      ['cat', join(dir, 'f')],
      ['diff', '1h', 'now', dir],
      ['restore', join(dir, 'f'), '--at', '1h'],
      ['clone', join(dir, 'f'), join(dir, 'g')],
      ['sync', dir],
      ['txn', dir, '--', 'true'],
      ['df', dir],
      ['fsck', dir],
      ['pack', dir],
      ['mount', db, dir],
    ]) {
      const { exitCode, stderr } = await runZblkfs(...parameters)
      // A check that could not begin has an exit code of its own.
      expect(exitCode).toBe(parameters[0] === 'fsck' ? 4 : 1)
      expect(stderr).toContain(`'zblkfs umount -l ${dir}'`)
      expect(stderr).not.toMatch(/^\s+at /m)
    }
  })
})
