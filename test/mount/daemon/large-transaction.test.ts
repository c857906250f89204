/** `zblkfs txn` of more than fits into the daemon's memory, as people see it. */
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { readFile, readdir, stat, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { expect, test } from 'vitest'
import { databaseBytes } from '../../tools/database-files.ts'
import { withMount, type TestMount } from '../../tools/mounted.ts'
import { runProgram, runZblkfs, ZBLKFS } from '../../tools/run-zblkfs.ts'

const MIB = 1 << 20
const SIZE_MIB = 300
/** Far below what is written; the daemon takes about 200 MiB with 32 MiB of dirty data. */
const RESIDENT_MAX_BYTES = 330 * MIB

/** Writes numbered blocks, so that none is like another. */
const WRITE = `
import os, sys
with open(sys.argv[1], 'wb') as file:
    for number in range(${SIZE_MIB}):
        file.write(number.to_bytes(8, 'little') * (1 << 17))
`

async function txn(
  mount: TestMount,
  command: string,
): Promise<{ exitCode: number | undefined; stderr: string }> {
  return await runZblkfs('txn', mount.dir, '--', 'sh', '-c', command)
}

async function residentBytes(pid: number): Promise<number> {
  const status = await readFile(`/proc/${pid}/status`, 'utf8')
  return Number(/VmHWM:\s+(\d+)/.exec(status)?.[1]) * 1024
}

async function lastTid({ dir }: TestMount): Promise<string> {
  return (await runZblkfs('sync', dir)).stdout.trim()
}

test('300 MiB in one transaction with dirty_size=32M: one transaction, in bounded memory', async () => {
  await withMount({ options: ['dirty_size=32M'] }, async mount => {
    const { dir, db, scratch } = mount
    const script = join(scratch, 'write.py')
    await writeFile(script, WRITE)
    const before = await lastTid(mount)
    expect(
      await txn(mount, `python3 ${script} ${dir}/big && test $(cat ${dir}/.zblkfs/at) = ${before}`),
    ).toMatchObject({
      exitCode: 0,
    })
    expect(await residentBytes(mount.pid())).toBeLessThan(RESIDENT_MAX_BYTES)
    const log = (await runZblkfs('log', '--json', db)).stdout.trim().split('\n')
    expect(log.map(line => (JSON.parse(line) as { tid: string }).tid).indexOf(before)).toBe(1)
    await mount.remount()
    const bytes = await readFile(join(dir, 'big'))
    expect(bytes).toHaveLength(SIZE_MIB * MIB)
    for (let number = 0; number < SIZE_MIB; number++)
      expect(bytes.readUInt32LE(number * MIB + 8)).toBe(number)
    expect((await runZblkfs('fsck', '--data', db)).stdout).toContain('is clean')
  })
})

test('a failed command leaves no changes, and its space is freed', async () => {
  await withMount({ options: ['dirty_size=16M'] }, async mount => {
    const { dir, db, scratch } = mount
    const script = join(scratch, 'write.py')
    await writeFile(script, WRITE)
    await writeFile(join(dir, 'kept'), 'kept')
    const before = await lastTid(mount)
    const { exitCode } = await txn(mount, `python3 ${script} ${dir}/big; rm ${dir}/kept; exit 3`)
    expect(exitCode).toBe(3)
    expect(await readdir(dir)).toEqual(['kept'])
    expect(await lastTid(mount)).toBe(before)
    expect(await databaseBytes(db)).toBeLessThan(16 * MIB)
    await writeFile(join(dir, 'other'), Buffer.alloc(8 * MIB, 7))
    await mount.remount()
    expect((await readFile(join(dir, 'other'))).equals(Buffer.alloc(8 * MIB, 7))).toBe(true)
    expect((await runZblkfs('fsck', '--data', db)).stdout).toContain('is clean')
  })
})

test('a daemon killed in mid-transaction leaves no changes; other processes see none meanwhile', async () => {
  await withMount({ options: ['dirty_size=16M'] }, async mount => {
    const { dir, db, scratch } = mount
    const script = join(scratch, 'write.py')
    await writeFile(script, WRITE)
    await writeFile(join(dir, 'kept'), 'kept')
    const before = await lastTid(mount)
    const running = spawn(
      ZBLKFS,
      ['txn', dir, '--', 'sh', '-c', `python3 ${script} ${dir}/big; sleep 1000`],
      {
        stdio: 'ignore',
        detached: true,
      },
    )
    try {
      while ((await stat(join(dir, 'big')).catch(() => undefined))?.size !== SIZE_MIB * MIB) await sleep(100)
      expect(await databaseBytes(db)).toBeGreaterThan(100 * MIB)
      const log = await runZblkfs('log', '--json', '-n', '1', db)
      expect(JSON.parse(log.stdout)).toMatchObject({ tid: before })
      expect((await runZblkfs('ls', db)).stdout.trim().split('\n')).toHaveLength(1)
      expect((await runZblkfs('df', db)).exitCode).toBe(0)
      expect((await runZblkfs('fsck', '--data', db)).stdout).toContain('is clean')
      expect((await runZblkfs('pack', dir)).stderr).toContain('transaction is open')
      await mount.kill()
    } finally {
      process.kill(-(running.pid ?? 0), 'SIGKILL')
      await once(running, 'exit')
    }
    expect((await runZblkfs('fsck', '--data', db)).stdout).toContain('is clean')
    await mount.remount()
    expect(await readdir(dir)).toEqual(['kept'])
    expect(await databaseBytes(db)).toBeLessThan(16 * MIB)
    await runProgram('cp', [join(dir, 'kept'), join(dir, 'copy')])
    await mount.unmount()
    expect((await runZblkfs('fsck', '--data', db)).stdout).toContain('is clean')
  })
})
