import { execFile, spawn } from 'node:child_process'
import { once } from 'node:events'
import { existsSync, readdirSync, readFileSync } from 'node:fs'
import { open, readFile, rename, stat, writeFile } from 'node:fs/promises'
import { request, type IncomingMessage } from 'node:http'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { promisify } from 'node:util'
import { expect, test } from 'vitest'
import { INFO_METRIC, LATENCY_METRIC, METRICS } from '../../../mount/daemon/metrics/definitions.ts'
import type { MountStats } from '../../../mount/daemon/mount-stats.ts'
import { withMount } from '../../tools/mounted.ts'
import { runProgram, runZblkfs, ZBLKFS } from '../../tools/run-zblkfs.ts'

const ROOT = join(import.meta.dirname, '../../..')
const METRIC_NAMES = [...METRICS.map(({ name }) => name), LATENCY_METRIC.name, INFO_METRIC.name]

async function statsOf(dir: string): Promise<MountStats> {
  return JSON.parse((await runZblkfs('stats', dir, '--json')).stdout) as MountStats
}

test('stats counts requests, bytes, commits and revisions of a mount', async () => {
  await withMount({}, async ({ dir }) => {
    const before = await statsOf(dir)
    await writeFile(join(dir, 'file'), 'x'.repeat(100_000))
    await runZblkfs('sync', dir)
    await readFile(join(dir, 'none')).catch(() => undefined)
    const after = await statsOf(dir)
    expect(after.requests['create']).toMatchObject({ count: 1, errors: 0 })
    const { count, buckets, totalMs } = after.requests['write'] ?? { count: 0, buckets: [], totalMs: 0 }
    expect(count).toBeGreaterThan(0)
    expect(buckets.reduce((sum, bucket) => sum + bucket, 0)).toBe(count)
    expect(totalMs).toBeGreaterThan(0)
    expect(after.fileSystem).toMatchObject({
      bytesWritten: 100_000,
      dirtyBytes: 0,
      dirtyAgeMs: 0,
      failedCommits: 0,
    })
    expect(after.fileSystem?.commits).toBeGreaterThan(before.fileSystem?.commits ?? 0)
    expect(after.database?.storedBytes).toBeGreaterThan(100_000)
    expect(after.database?.revisions).toBeGreaterThan(before.database?.revisions ?? Infinity)
    expect(after.pack).toMatchObject({ isRunning: false, failures: 0 })

    const text = await runZblkfs('stats', dir)
    expect(text).toMatchObject({ exitCode: 0, stderr: '' })
    expect(text.stdout).toMatch(/^write {10} +\d+ +0 +[\d.]+ (us|ms)$/m)
  })
})

test('the age of unstored changes increases until they are stored', async () => {
  await withMount({ options: ['commit_interval=1h'] }, async ({ dir }) => {
    await writeFile(join(dir, 'file'), 'x')
    await sleep(300)
    expect((await statsOf(dir)).fileSystem?.dirtyAgeMs).toBeGreaterThan(250)
    await runZblkfs('sync', dir)
    expect((await statsOf(dir)).fileSystem?.dirtyAgeMs).toBe(0)
  })
})

test('the access log has a line for each request while it is read, and ends with a lazy unmount', async () => {
  await withMount({ driver: 'kernel' }, async ({ dir }) => {
    expect((await stat(join(dir, '.zblkfs/accesslog'))).mode & 0o777).toBe(0o400)
    await writeFile(join(dir, 'unseen'), '')
    const reader = spawn('cat', [join(dir, '.zblkfs/accesslog')], { stdio: ['ignore', 'pipe', 'inherit'] })
    const ended = once(reader, 'exit')
    let log = ''
    reader.stdout.setEncoding('utf8').on('data', (text: string) => (log += text))
    await sleep(500)
    await writeFile(join(dir, 'file'), 'x'.repeat(5000))
    await rename(join(dir, 'file'), join(dir, 'a "b"'))
    await stat(join(dir, 'none')).catch(() => undefined)
    await sleep(200)
    await runZblkfs('umount', '-l', dir)
    await ended
    const caller = /^[\d-]+T[\d:.]+Z uid=\d+ gid=\d+ pid=\d+ /
    const lines = log.trimEnd().split('\n')
    for (const line of lines) expect(line).toMatch(caller)
    const seen = lines.map(line => line.replace(caller, '').replace(/ \d+\.\d{6}$/, ''))
    expect(seen).toEqual(
      expect.arrayContaining([
        expect.stringMatching(/^create "\/file" flags=0o\d+ mode=0o\d+ OK$/),
        'write "/file" off=0 len=5000 OK',
        expect.stringMatching(/^rename "\/file" to=ino:\d+ "a \\"b\\"" OK$/),
        'lookup "/none" ENOENT',
      ]),
    )
    expect(log).not.toContain('unseen')
    expect(log).not.toContain('accesslog')
  })
})

/** The status of a request to the metrics under a name of the host; fetch would set the header itself. */
async function statusOf(path: string, host: string): Promise<number | undefined> {
  const sent = request({ host: '127.0.0.1', port: 19473, path, headers: { host } })
  sent.end()
  const [response] = (await once(sent, 'response')) as [IncomingMessage]
  response.resume()
  return response.statusCode
}

test('metrics are served over HTTP, and in a file that is removed with the mount', async () => {
  await withMount({ options: ['metrics=127.0.0.1:19473'] }, async ({ dir, scratch }) => {
    await writeFile(join(dir, 'file'), 'x'.repeat(5000))
    const answer = await fetch('http://127.0.0.1:19473/metrics')
    expect(answer.headers.get('content-type')).toMatch(/^text\/plain; version=0\.0\.4/)
    const text = await answer.text()
    expect(text).toContain(`zblkfs_written_bytes_total{directory="${dir}"} 5000\n`)
    const count = new RegExp(
      `^zblkfs_request_duration_seconds_count\\{operation="write",directory="${dir}"\\} (\\d+)$`,
      'm',
    ).exec(text)?.[1]
    const all = text.split('\n').find(line => /_bucket\{(?=.*le="\+Inf")(?=.*operation="write")/.test(line))
    expect(all).toMatch(new RegExp(` ${count}$`))
    const named = [...text.matchAll(/^# TYPE (\S+)/gm)].map(([, name]) => name)
    expect(new Set(named)).toEqual(new Set(METRIC_NAMES))
    expect((await fetch('http://127.0.0.1:19473/')).status).toBe(404)
    expect(await statusOf('/metrics', 'localhost:19473')).toBe(200)
    // A page of another site, whose name leads here.
    expect(await statusOf('/metrics', 'evil.example:19473')).toBe(421)

    const [other, file] = [join(scratch, 'other'), join(scratch, 'zblkfs.prom')]
    await runProgram('mkdir', [other])
    const taken = await runZblkfs('mount', join(scratch, 'other.zblk'), other, '-o', 'metrics=19473')
    expect(taken.exitCode).toBe(1)
    expect(taken.stderr).toContain('at 127.0.0.1:19473: another process listens there')
    await runZblkfs('mount', join(scratch, 'other.zblk'), other, '-o', `metrics=${file}`)
    expect(readFileSync(file, 'utf8')).toContain(`zblkfs_storing_failed{directory="${other}"} 0\n`)
    await runZblkfs('umount', other)
    expect(readdirSync(scratch).filter(name => name.includes('.prom'))).toEqual([])
  })
})

test('status shows the last error and its remedy', async () => {
  await withMount({}, async mount => {
    const { dir, db } = mount
    await writeFile(join(dir, 'file'), 'x'.repeat(3_000_000))
    await mount.unmount()
    const log = readdirSync(`${db}-log`).find(name => existsSync(join(`${db}-log`, name))) ?? ''
    const bytes = await readFile(join(`${db}-log`, log))
    bytes.fill(0, 8192, 1 << 20)
    await writeFile(join(`${db}-log`, log), bytes)
    await runZblkfs('mount', db, dir)
    await expect(readFile(join(dir, 'file'))).rejects.toThrow('EIO')
    expect((await statsOf(dir)).problems.damage).toBeGreaterThan(0)
    const { stdout } = await runZblkfs('status')
    const block = stdout.split('\n\n').find(text => text.startsWith(`${dir}\n`))
    expect(block).toMatch(
      /^ {2}last error {3}[\d-]+T[^ ]+: an operation failed \(.*: run 'zblkfs fsck' on the database\)$/m,
    )
  })
})

test('status does not show what is wrong with a command alone', async () => {
  await withMount({}, async ({ dir }) => {
    await writeFile(join(dir, 'file'), 'x')
    const wrong = [
      ['untag', 'none', '--db', dir],
      ['tag', '2h', '--db', dir],
      ['restore', join(dir, 'none'), '--at', 'now'],
      ['clone', join(dir, 'none'), join(dir, 'copy')],
      ['undo', '0000000000000001', '--db', dir],
      ['pack', dir, '--before', 'nonsense'],
      ['history', dir, '--keep', 'nonsense'],
    ]
    for (const parameters of wrong) expect((await runZblkfs(...parameters)).exitCode).toBeGreaterThan(0)
    const file = await open(join(dir, 'file'))
    expect((await runZblkfs('umount', dir)).stderr).toContain('use')
    await file.close()
    expect((await statsOf(dir)).problems).toEqual({ warnings: 0, errors: 0, damage: 0 })
    const { stdout } = await runZblkfs('status')
    expect(stdout.split('\n\n').find(text => text.startsWith(`${dir}\n`))).not.toContain('last ')
  })
})

test('top prints a line for each update without a terminal, and draws a screen on one until q', async () => {
  await withMount({}, async ({ dir }) => {
    const plain = await runZblkfs('top', dir, '-n', '2', '-i', '100ms')
    expect(plain).toMatchObject({ exitCode: 0, stderr: '' })
    expect(plain.stdout.trimEnd().split('\n')).toEqual([
      expect.stringMatching(/^ +TIME +REQUESTS\/S .* MEMORY$/),
      expect.stringMatching(/ MiB$/),
      expect.stringMatching(/ MiB$/),
    ])
    const onTerminal = `(sleep 2; printf q) | timeout 20 script -qec "stty rows 30 cols 60; '${ZBLKFS}' top '${dir}'" /dev/null; echo "ended $?"`
    const { stdout } = await promisify(execFile)('sh', ['-c', onTerminal])
    expect(stdout).toContain(`zblkfs top  ${dir}`.slice(0, 60))
    expect(stdout).toMatch(/q: end/)
    expect(stdout.trimEnd()).toMatch(/\[\?1049l\s*ended 0$/)
  })
})

test('every metric is documented, and the alerts and the dashboard use no others', () => {
  const page = readFileSync(join(ROOT, 'docs/monitoring.md'), 'utf8')
  const documented = [...page.matchAll(/^\| `(zblkfs_\w+)`/gm)].map(([, name]) => name)
  expect(new Set(documented)).toEqual(new Set(METRIC_NAMES))
  for (const file of ['alerts.yml', 'grafana-dashboard.json']) {
    const text = readFileSync(join(ROOT, 'examples/monitoring', file), 'utf8')
    const used = [...text.matchAll(/zblkfs_[a-z_]+/g)].map(([name]) =>
      name.replace(/_(bucket|count|sum)$/, ''),
    )
    expect(used.length).toBeGreaterThan(5)
    for (const name of used) expect(METRIC_NAMES).toContain(name)
  }
})
