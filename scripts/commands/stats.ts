/** `zblkfs stats [DIR]`: the counters and sizes of a mount. */
import { Command } from 'commander'
import type { MountStats } from '../../mount/daemon/mount-stats.ts'
import { ALIVE_TIMEOUT_MS, callMount } from '../find-mount.ts'
import { formatLatency } from '../monitor/screen.ts'
import { mountOf } from '../only-mount.ts'
import { say } from '../say.ts'
import { formatBytes } from '../units.ts'

export function statsCommand(): Command {
  return new Command('stats')
    .description('Show the counters of a mount since it was mounted, and its sizes.')
    .argument('[dir]', 'a directory in the mount; by default the only one of this machine')
    .option('--json', 'print JSON; times are in milliseconds, sizes in bytes')
    .action(async (path: string | undefined, { json = false }: { readonly json?: boolean }) => {
      const stats = await callMount(mountOf(path), 'stats', {}, ALIVE_TIMEOUT_MS)
      if (json) console.log(JSON.stringify(stats, undefined, 2))
      else for (const line of lines(stats)) say(line)
    })
}

function lines(stats: MountStats): readonly string[] {
  const rows = [...sizes(stats)]
  const width = Math.max(...rows.map(([name]) => name.length))
  const operations = Object.entries(stats.requests).map(([name, { count, errors, totalMs }]) => [
    name,
    String(count),
    String(errors),
    formatLatency(totalMs / count),
  ])
  const table = [['operation', 'requests', 'errors', 'average'], ...operations]
  const errors = Object.entries(stats.errors).map(([name, count]) => `${name} ${count}`)
  return [
    ...rows.map(([name, text]) => `${name.padEnd(width)}  ${text}`),
    ...(errors.length === 0 ? [] : [`${'errors'.padEnd(width)}  ${errors.join(', ')}`]),
    '',
    ...table.map(([name = '', ...cells]) => name.padEnd(15) + cells.map(cell => cell.padStart(12)).join('')),
  ]
}

function* sizes(stats: MountStats): Generator<readonly [name: string, text: string]> {
  const { fileSystem, database, pack, problems } = stats
  yield ['since', new Date(stats.sinceMs).toISOString()]
  yield ['transaction', stats.tid]
  if (fileSystem !== undefined) {
    const { cacheHits, cacheMisses } = fileSystem
    const ratio = ((100 * cacheHits) / Math.max(1, cacheHits + cacheMisses)).toFixed(1)
    yield ['read', formatBytes(fileSystem.bytesRead)]
    yield ['written', formatBytes(fileSystem.bytesWritten)]
    yield [
      'not stored',
      `${formatBytes(fileSystem.dirtyBytes)} of at most ${formatBytes(fileSystem.dirtyLimitBytes)}`,
    ]
    yield ['commits', `${fileSystem.commits}, ${fileSystem.failedCommits} failed`]
    yield [
      'cache',
      `${formatBytes(fileSystem.cacheBytes)} of at most ${formatBytes(fileSystem.cacheLimitBytes)}, ${ratio} % hits`,
    ]
  }
  if (database !== undefined) {
    const { totalBytes, storedBytes, revisions, availableBytes } = database
    yield ['database', formatBytes(totalBytes)]
    yield ['ever stored', `${formatBytes(storedBytes)} in ${revisions} revisions`]
    if (availableBytes !== undefined) yield ['disk', `${formatBytes(availableBytes)} free`]
  }
  if (pack !== undefined)
    yield [
      'packs',
      `${pack.packs}, ${pack.failures} failed; one would free ${formatBytes(pack.expectedBytes)}`,
    ]
  yield [
    'log',
    `${problems.errors} errors, ${problems.warnings} warnings, damage found ${problems.damage} times`,
  ]
  yield ['memory', formatBytes(stats.residentBytes)]
}
