/** The file of metrics, in a directory that others may write. */
import { lstat, mkdtemp, readFile, rm, symlink, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { pino } from 'pino'
import { expect, onTestFinished, test } from 'vitest'
import { publishMetrics } from '../../../mount/daemon/metrics/publish.ts'
import type { MountStats } from '../../../mount/daemon/mount-stats.ts'

const STATS: MountStats = {
  timeMs: 2,
  sinceMs: 1,
  tid: '0000000000000000',
  requests: {},
  errors: {},
  problems: { warnings: 0, errors: 0, damage: 0 },
  residentBytes: 1,
  processorMs: 1,
}

test('a link in the place of the temporary file is not followed', async () => {
  const directory = await mkdtemp(join(tmpdir(), 'zblkfs-metrics-'))
  onTestFinished(() => rm(directory, { recursive: true }))
  const [path, victim] = [join(directory, 'a.prom'), join(directory, 'victim')]
  await writeFile(victim, 'untouched')
  await symlink(victim, `${path}.${process.pid}.tmp`)
  const labels = { directory: '/m', database: '/d', driver: 'kernel', access: 'rw' }
  const publisher = await publishMetrics(
    { kind: 'file', path },
    labels,
    () => Promise.resolve(STATS),
    pino({ level: 'silent' }),
  )
  await publisher.close()
  expect(await readFile(victim, 'utf8')).toBe('untouched')
  await expect(lstat(path)).rejects.toThrow('ENOENT')
})
