/**
 * A clock that jumps under a running daemon: libfaketime gives the daemon and the commands another time of day; the time
 * since the machine was booted stays.
 */
import { existsSync } from 'node:fs'
import { mkdir, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { expect, test } from 'vitest'
import { isRunning } from '../../../mount/daemon/is-running.ts'
import { runProgram, ZBLKFS } from '../../tools/run-zblkfs.ts'

const LIBRARY = ['x86_64', 'aarch64']
  .map(machine => `/usr/lib/${machine}-linux-gnu/faketime/libfaketime.so.1`)
  .find(existsSync)
const MIB = 1 << 20

test.skipIf(LIBRARY === undefined)(
  '30 days ahead and back: ages, packs in the background and tids hold (needs libfaketime)',
  async () => {
    const scratch = await mkdtemp(join(tmpdir(), 'zblkfs-test-'))
    const [db, dir, offset] = ['db', 'mnt', 'offset'].map(name => join(scratch, name)) as [
      string,
      string,
      string,
    ]
    await mkdir(dir)
    const setClock = async (text: string): Promise<void> => await writeFile(offset, text)
    const environment = [
      `LD_PRELOAD=${LIBRARY}`,
      'FAKETIME_DONT_FAKE_MONOTONIC=1',
      'FAKETIME_NO_CACHE=1',
      `FAKETIME_TIMESTAMP_FILE=${offset}`,
      `XDG_STATE_HOME=${scratch}`,
    ]
    const run = async (...parameters: readonly string[]): Promise<string> => {
      const { exitCode, stdout, stderr } = await runProgram('env', [...environment, ZBLKFS, ...parameters])
      expect([exitCode, stderr]).toEqual([0, ''])
      return stdout.trim()
    }
    const status = async (): Promise<Record<string, unknown>> => {
      const lines = JSON.parse(await run('status', '--json')) as Record<string, unknown>[]
      return lines.find(({ directory }) => directory === dir) ?? {}
    }
    const write = async (text: string): Promise<string> => {
      await writeFile(join(dir, 'file'), Buffer.alloc(8 * MIB, text))
      return await run('sync', dir)
    }
    const fileAt = async (when: string): Promise<string> =>
      (await readFile(join(dir, `@${when}`, 'file'), 'latin1')).slice(0, 1)

    await setClock('+0d')
    try {
      await run('mount', db, dir, '-o', 'history=10s')
      await run('history', dir, '--keep', '7d')
      await write('a')
      const second = await write('b')
      await setClock('+30d')
      await sleep(1500)
      const ahead = await write('c')
      expect(Number(BigInt(`0x${ahead}`) - BigInt(`0x${second}`))).toBeGreaterThan(29 * 1440 * 2 ** 32)
      expect((await status())['clock']).toContain('ahead by 30d')
      expect(await run('pack', dir)).toContain('no moment of the history was dropped')
      await setClock('+0d')
      await sleep(1500)
      await write('d')
      await sleep(2500)
      await write('e')
      await sleep(1500)
      expect(await fileAt('1s')).toBe('e')
      expect(await fileAt('2500ms')).toBe('d')
      expect(await fileAt(second)).toBe('b')
      expect((await status())['clock']).toContain('back by 30d')
      expect(await run('pack', dir)).toContain('no moment of the history was dropped')
      expect(await run('fsck', db)).toContain('is clean')
      const times = (await run('log', '--json', db))
        .split('\n')
        .map(line => Date.parse((JSON.parse(line) as { time: string }).time))
      expect(Math.abs((times[0] ?? 0) - Date.now())).toBeLessThan(60_000)
    } finally {
      const pid = Number((await status())['pid'])
      await run('umount', dir)
      // A mount namespace of another process may hold a copy of the mount.
      for (let count = 0; count < 100 && isRunning(pid); count++) await sleep(50)
      if (isRunning(pid)) process.kill(pid, 'SIGKILL')
      await rm(scratch, { recursive: true, force: true })
    }
  },
)
