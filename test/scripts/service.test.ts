/** What systemd sees of a mount, and its units' commands: run without systemd. */
import { koffi } from '../../store/koffi.ts'
import { readFileSync } from 'node:fs'
import { mkdir, mkdtemp, readFile, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { dirname, join } from 'node:path'
import { afterEach, beforeEach, expect, test } from 'vitest'
import { recordBytes } from '../../scripts/commands/export.ts'
import { exportTransactions } from '../../core/foreign/export-database.ts'
import { open } from '../../index.ts'
import { mountedAt } from '../../mount/mount-points/mount-table.ts'
import { TID_NONE } from '../../store/ids.ts'
import { openStore } from '../../store/open-store.ts'
import { runProgram, runZblkfs, ZBLKFS } from '../tools/run-zblkfs.ts'

const FILES = join(import.meta.dirname, '../../scripts/package/files')
const isRoot = process.getuid?.() === 0

let scratch: string
let dir: string
let db: string
beforeEach(async () => {
  scratch = await mkdtemp(join(tmpdir(), 'zblkfs-service-'))
  dir = join(scratch, 'mnt')
  db = join(scratch, 'data.zblk')
  await mkdir(dir)
})
afterEach(async () => {
  await runZblkfs('umount', '-l', dir)
  await rm(scratch, { recursive: true, force: true })
})

const AF_UNIX = 1
const SOCK_DGRAM_NONBLOCK = 2 | 0o4000

/** A socket that receives what a service tells systemd. */
function notifySocket(path: string): () => readonly string[] {
  const libc = koffi.load('libc.so.6')
  const fd = libc.func('int socket(int, int, int)')(AF_UNIX, SOCK_DGRAM_NONBLOCK, 0) as number
  const address = Buffer.alloc(3 + path.length)
  address.writeUInt16LE(AF_UNIX)
  address.write(path, 2)
  expect(libc.func('int bind(int, void *, uint32_t)')(fd, address, address.length)).toBe(0)
  const recv = libc.func('long recv(int, void *, size_t, int)')
  return () => {
    const messages: string[] = []
    const bytes = Buffer.alloc(4096)
    for (;;) {
      const length = Number(recv(fd, bytes, bytes.length, 0))
      if (length < 0) return messages
      messages.push(bytes.toString('utf8', 0, length))
    }
  }
}

test('a foreground mount notifies systemd and its watchdog, and logs with journal levels', async () => {
  const path = join(scratch, 'notify')
  const received = notifySocket(path)
  const script = `
    touch '${scratch}/err'
    export JOURNAL_STREAM=$(stat -c %d:%i '${scratch}/err') NOTIFY_SOCKET='${path}' WATCHDOG_USEC=600000
    '${ZBLKFS}' mount -f '${db}' '${dir}' > '${scratch}/out' 2>> '${scratch}/err' & pid=$!
    until grep -q mounted '${scratch}/out'; do sleep 0.1; done
    sleep 1; kill -TERM $pid; wait $pid; echo "exit code $?"`
  const { stdout } = await runProgram('timeout', ['60', 'bash', '-c', script])
  expect(stdout).toBe('exit code 0\n')
  const messages = received()
  expect(messages[0]).toBe(`READY=1\nSTATUS=${db} is mounted at ${dir}`)
  expect(messages.filter(message => message === 'WATCHDOG=1').length).toBeGreaterThanOrEqual(2)
  expect(messages).toContain('STOPPING=1\nSTATUS=storing what is left')
  expect(await readFile(join(scratch, 'err'), 'utf8')).toMatch(/^<6>info: storing and unmounting/m)
})

test.runIf(isRoot)('the unit removes the mount of a daemon that was killed, and starts again', async () => {
  const unit = readFileSync(join(FILES, 'zblkfs@.service'), 'utf8')
  const [, before = ''] = /^ExecStartPre=-(.*)$/m.exec(unit) ?? []
  const command = `export DIR='${dir}' PATH="${dirname(ZBLKFS)}:$PATH"; ${before.replaceAll('$$', '$')}`
  expect((await runZblkfs('mount', db, dir)).exitCode).toBe(0)
  await writeFile(join(dir, 'file'), 'kept')
  await runZblkfs('sync', dir)
  const status = JSON.parse((await runZblkfs('status', '--json')).stdout) as {
    directory: string
    pid: number
  }[]
  process.kill(status.find(({ directory }) => directory === dir)?.pid ?? 0, 'SIGKILL')
  expect((await runProgram('sh', ['-c', command])).exitCode).toBe(0)
  expect(mountedAt(dir)).toBeUndefined()
  expect((await runZblkfs('mount', db, dir)).exitCode).toBe(0)
  expect(await readFile(join(dir, 'file'), 'utf8')).toBe('kept')
  expect(unit).toMatch(/^Type=notify$[^]*^WatchdogSec=60$[^]*^Restart=on-failure$/m)
})

test('the monthly check writes a report, and fails if the check fails', async () => {
  const database = await open(db, { create: true })
  await database.files.writeFile('/a', 'x')
  await database.close()
  const scrub = async (path: string) =>
    await runProgram('env', [
      `PATH=${dirname(ZBLKFS)}:${process.env['PATH']}`,
      `LOGS_DIRECTORY=${scratch}`,
      'sh',
      join(FILES, 'scrub'),
      path,
      'test',
    ])
  const good = await scrub(db)
  expect(good.exitCode).toBe(0)
  const report = await readFile(join(scratch, 'scrub-test.txt'), 'utf8')
  expect(report).toMatch(/^zblkfs fsck --data .*\n[^]+\nexit code 0, /)
  expect(good.stdout).toBe(report)
  expect((await scrub(join(scratch, 'none'))).exitCode).toBe(2)
  expect(await readFile(join(scratch, 'scrub-test.txt'), 'utf8')).toMatch(/\nexit code 2, /)
})

test('the total of the export progress bar includes bytes that records share', async () => {
  const database = await open(db, { create: true })
  await database.files.writeFile('/a', Buffer.alloc(5_000_000, 'abc'))
  await database.sync()
  await database.clone('/a', '/b')
  const file = await database.files.open('/a', 'r+')
  await file.write(Buffer.alloc(4096, 'x'), 0, 4096, 1_000_000)
  await file.close()
  await database.close()
  const store = await openStore(db, { readOnly: true })
  let bytes = 0
  const writer = {
    append: async ({ records }: { readonly records: AsyncIterable<unknown> }) => {
      for await (const _ of records);
    },
  }
  await exportTransactions({
    source: store,
    writer: writer as unknown as Parameters<typeof exportTransactions>[0]['writer'],
    after: TID_NONE,
    upTo: await store.lastTid(),
    progress: length => (bytes += length),
  })
  expect(bytes).toBeGreaterThan(10_000_000)
  expect(await recordBytes(store, TID_NONE)).toBe(bytes)
  await store.close()
})
