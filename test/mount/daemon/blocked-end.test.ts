/** The end of a daemon: what it leaves, and that it ends even if a file of another filesystem does not answer. */
import { existsSync } from 'node:fs'
import { mkdir, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { expect, test } from 'vitest'
import { controlPaths } from '../../../mount/daemon/control-path.ts'
import { callDaemon } from '../../../mount/daemon/control-protocol.ts'
import { isRunning } from '../../../mount/daemon/is-running.ts'
import { mountedAt } from '../../../mount/mount-points/mount-table.ts'
import { withMount } from '../../tools/mounted.ts'
import { runProgram, runZblkfs } from '../../tools/run-zblkfs.ts'

/** Bounds on the services' end and on the process's, and room for a loaded machine. */
const ENDS_MS = 60_000
const POLL_MS = 100
const CALL_MS = 30_000

test('a daemon whose metrics lie on a mount that does not answer stores everything and ends', async () => {
  await withMount({}, async stopped => {
    const [db, dir] = [join(stopped.scratch, 'second.zblk'), join(stopped.scratch, 'second')]
    await mkdir(dir)
    const metrics = join(stopped.dir, 'figures.prom')
    expect(await runZblkfs('mount', db, dir, '-o', `metrics=${metrics}`)).toMatchObject({ exitCode: 0 })
    try {
      await writeFile(join(dir, 'file'), 'kept')
      const device = mountedAt(dir)?.device ?? ''
      const { pid } = await callDaemon(
        await controlPaths(device, process.getuid?.() ?? 0),
        'status',
        {},
        CALL_MS,
      )
      process.kill(stopped.pid(), 'SIGSTOP')
      expect(await runZblkfs('umount', dir)).toMatchObject({ exitCode: 0 })
      for (let waited = 0; isRunning(pid) && waited < ENDS_MS; waited += POLL_MS) await sleep(POLL_MS)
      expect(isRunning(pid)).toBe(false)
    } finally {
      process.kill(stopped.pid(), 'SIGCONT')
      if (mountedAt(dir) !== undefined) await runProgram('umount', ['-l', dir])
    }
    expect((await runZblkfs('cat', db, 'file')).stdout).toBe('kept')
  })
})

test('after SIGTERM neither the socket nor the metrics are left', async () => {
  await withMount({}, async mount => {
    const metrics = join(mount.scratch, 'figures.prom')
    await mount.remount([`metrics=${metrics}`])
    const [socket = ''] = await controlPaths(mountedAt(mount.dir)?.device ?? '', process.getuid?.() ?? 0)
    expect([existsSync(metrics), existsSync(socket)]).toEqual([true, true])
    process.kill(mount.pid(), 'SIGTERM')
    for (let waited = 0; isRunning(mount.pid()) && waited < ENDS_MS; waited += POLL_MS) await sleep(POLL_MS)
    expect([existsSync(metrics), existsSync(socket)]).toEqual([false, false])
  })
})
