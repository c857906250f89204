import { execFileSync } from 'node:child_process'
import { chmod, mkdir, mkdtemp, readFile, rm, stat, truncate, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import Database from 'better-sqlite3'
import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import { mountedAt } from '../../mount/mount-points/mount-table.ts'
import { type CommandResult, runProgram, runZblkfs, ZBLKFS } from '../tools/run-zblkfs.ts'
import { withMount } from '../tools/mounted.ts'

const isRoot = process.getuid?.() === 0
const canUnshare = isRoot && (await runProgram('unshare', ['--mount', 'true'])).exitCode === 0
const NOBODY = '65534'

let scratch: string
let dir: string
let db: string
beforeEach(async () => {
  scratch = await mkdtemp(join(tmpdir(), 'zblkfs-mount-'))
  dir = join(scratch, 'mnt')
  db = join(scratch, 'data.zblk')
  await mkdir(dir)
})
afterEach(async () => {
  // The daemon ends before its database is removed: it would stay, with the only copy of it.
  await runZblkfs('umount', '-l', dir)
  while (mountedAt(dir) !== undefined) execFileSync('umount', ['-l', dir])
  await rm(scratch, { recursive: true, force: true })
})

/** A command that fails with a message, on standard error alone, and mounts nothing. */
function expectFailure(result: CommandResult, exitCode: number, message: RegExp): void {
  expect(result.stderr).toMatch(message)
  expect(result.stderr).not.toMatch(/\n\s+at /)
  expect(result).toMatchObject({ exitCode, stdout: '' })
  expect(mountedAt(dir)).toBeUndefined()
}

describe('zblkfs mount', () => {
  test('creates a private database, prints one line, and preserves written data', async () => {
    const mounted = await runZblkfs('mount', db, dir)
    expect(mounted).toEqual({ exitCode: 0, stdout: `${db} is mounted at ${dir}\n`, stderr: '' })
    expect((await stat(db)).mode & 0o777).toBe(0o600)
    await writeFile(join(dir, 'file'), 'kept')
    const unmounted = await runZblkfs('umount', dir)
    expect(unmounted.stdout).toMatch(/ is unmounted, all is stored \(transaction [0-9a-f]{16}\)\n$/)
    expect(mountedAt(dir)).toBeUndefined()
    await runZblkfs('mount', db, dir)
    expect(await readFile(join(dir, 'file'), 'utf8')).toBe('kept')
  })

  test('is nosuid and nodev, named after the database, and accepts other options', async () => {
    await runZblkfs('mount', db, dir)
    expect(mountedAt(dir)).toMatchObject({ type: 'fuse.zblkfs', source: db })
    expect(mountedAt(dir)?.options).toEqual(expect.arrayContaining(['rw', 'nosuid', 'nodev']))
    await runZblkfs('umount', dir)
    const options = 'fsname=mine,suid,dev,allow_other,uid=5,gid=6,umask=077,cache_size=8M,commit_interval=1s'
    expect((await runZblkfs('mount', db, dir, '-o', options, '--zblk-format', 'zblk1')).exitCode).toBe(0)
    expect(mountedAt(dir)).toMatchObject({ source: 'mine' })
    expect(mountedAt(dir)?.options).not.toContain('nosuid')
    await writeFile(join(dir, 'file'), '')
    expect(await stat(join(dir, 'file'))).toMatchObject({ uid: 5, gid: 6, mode: 0o100600 })
    expect(JSON.parse(await readFile(join(dir, '.zblkfs/config'), 'utf8'))).toMatchObject({
      zblkFormat: 'zblk1',
      cacheSizeBytes: 8 << 20,
      commitIntervalMs: 1000,
    })
  })

  test.each(['kernel', 'fuse-native'] as const)('mounts with the driver %s', async driver => {
    await withMount({ driver }, async mount => {
      await writeFile(join(mount.dir, 'a'), 'b')
      await mount.remount()
      expect(await readFile(join(mount.dir, 'a'), 'utf8')).toBe('b')
      const [status] = JSON.parse((await runZblkfs('status', '--json')).stdout).filter(
        ({ directory }: { readonly directory: string }) => directory === mount.dir,
      )
      expect(status).toMatchObject({ state: 'serving', driver, pid: mount.pid(), database: mount.db })
    })
  })

  test('works from anywhere, by relative paths and through symbolic links', async () => {
    const script = `ln -s '${ZBLKFS}' link && cd mnt && cd .. && ./link mount data.zblk ./mnt && ls -a mnt && ./link umount mnt`
    const result = await runProgram('sh', ['-ec', `cd '${scratch}'; ${script}`])
    expect(result.stdout).toContain('data.zblk is mounted at ./mnt')
    expect(result).toMatchObject({ exitCode: 0, stderr: '' })
  })

  test('serves in the foreground until Ctrl-C, then stores all changes', async () => {
    const script = `
      '${ZBLKFS}' mount -f '${db}' '${dir}' > '${scratch}/out' 2>&1 & pid=$!
      until grep -q mounted '${scratch}/out'; do sleep 0.1; done
      echo kept > '${dir}/file'; kill -INT $pid; wait $pid; echo "exit code $?"; cat '${scratch}/out'`
    const { stdout } = await runProgram('timeout', ['30', 'bash', '-c', script])
    expect(stdout).toContain('exit code 0')
    expect(stdout).toMatch(/ is unmounted, all is stored \(transaction [0-9a-f]{16}\)/)
    expect(mountedAt(dir)).toBeUndefined()
    await runZblkfs('mount', db, dir)
    expect(await readFile(join(dir, 'file'), 'utf8')).toBe('kept\n')
  })

  test('a read-only mount beside a writer refuses changes', async () => {
    const second = join(scratch, 'second')
    await mkdir(second)
    await runZblkfs('mount', db, dir)
    await writeFile(join(dir, 'file'), 'x')
    await runZblkfs('sync', dir)
    const mounted = await runZblkfs('mount', db, second, '-o', 'ro')
    expect(mounted).toMatchObject({ exitCode: 0, stderr: '' })
    try {
      await expect(writeFile(join(second, 'file'), 'y')).rejects.toMatchObject({ code: 'EROFS' })
      expect(await readFile(join(second, 'file'), 'utf8')).toBe('x')
    } finally {
      expect((await runZblkfs('umount', second)).exitCode).toBe(0)
    }
  })
})

describe('wrong usage is exit code 2', () => {
  test('an unknown mount option lists the valid ones', async () => {
    expectFailure(
      await runZblkfs('mount', db, dir, '-o', 'colour=red'),
      2,
      /the options are ro, rw, at, branch, driver/,
    )
  })
  test('an argument that is missing', async () => {
    expectFailure(await runZblkfs('mount', db), 2, /missing required argument 'dir'/)
  })
  test('an unknown command', async () => {
    expectFailure(await runZblkfs('format', db), 2, /unknown command 'format'/)
  })
  test('a format that does not exist', async () => {
    expectFailure(await runZblkfs('mount', db, dir, '--zblk-format', 'zip'), 2, /zblk0, zblk1/)
  })
  test('a database inside the directory that would hide it', async () => {
    const result = await runZblkfs('mount', join(dir, 'x'), dir)
    expectFailure(result, 2, /would hide it/)
  })
})

describe('is refused with a message and exit code 1', () => {
  test('a file that is not an SQLite database', async () => {
    await writeFile(db, 'hello '.repeat(1000))
    expectFailure(
      await runZblkfs('mount', db, dir),
      1,
      /is not a zblkfs database: its first bytes are neither/,
    )
    expect(await readFile(db, 'utf8')).toBe('hello '.repeat(1000))
  })

  test('a database of another program', async () => {
    new Database(db).exec('CREATE TABLE t(x); PRAGMA application_id = 77').close()
    expectFailure(await runZblkfs('mount', db, dir), 1, /database of another program/)
  })

  test('a newer or older format', async () => {
    await runZblkfs('mount', db, dir)
    await runZblkfs('umount', dir)
    const newer = new Database(db)
    newer.pragma('user_version = 99')
    newer.close()
    expectFailure(await runZblkfs('mount', db, dir), 1, /has format 99.*use the newest zblkfs/)
    const older = new Database(db)
    older.pragma('user_version = 1')
    older.close()
    expectFailure(await runZblkfs('mount', db, dir), 1, /has format 1,.*with the version that wrote it/)
  })

  test.each([4096, 20_000])('a database cut short at %d bytes', async length => {
    await runZblkfs('mount', db, dir)
    await writeFile(join(dir, 'file'), Buffer.alloc(1 << 20, 'x'))
    await runZblkfs('umount', dir)
    await truncate(db, length)
    expectFailure(await runZblkfs('mount', db, dir), 1, /damaged|cut short|is no database/)
  })

  test('a database in a directory that does not exist', async () => {
    expectFailure(await runZblkfs('mount', join(scratch, 'no/x'), dir), 1, /is not a directory; create it/)
  })

  test('a read-only mount of a database that does not exist', async () => {
    expectFailure(await runZblkfs('mount', db, dir, '-o', 'ro'), 1, /does not exist/)
  })

  test('a directory that is missing, a file, or not empty', async () => {
    expectFailure(await runZblkfs('mount', db, join(scratch, 'none')), 1, /does not exist: create it/)
    await writeFile(join(dir, 'file'), '')
    expectFailure(await runZblkfs('mount', db, join(dir, 'file')), 1, /is not a directory/)
    expectFailure(await runZblkfs('mount', db, dir), 1, /is not empty.*-o nonempty/)
    expect((await runZblkfs('mount', db, dir, '-o', 'nonempty')).exitCode).toBe(0)
  })

  test('a mount point in use', async () => {
    await runZblkfs('mount', db, dir)
    const { exitCode, stderr } = await runZblkfs('mount', join(scratch, 'other'), dir)
    expect(stderr).toMatch(/already mounted \(.*data\.zblk\): unmount it first/)
    expect(exitCode).toBe(1)
  })

  test('a second writable mount fails and names the process that holds the database', async () => {
    const second = join(scratch, 'second')
    await mkdir(second)
    await runZblkfs('mount', db, dir)
    const { exitCode, stderr } = await runZblkfs('mount', db, second)
    expect(stderr).toMatch(/is in use by process \d+ \(mounted at .*mnt\): unmount it there first/)
    expect(exitCode).toBe(1)
  })

  test('a moment before the first transaction', async () => {
    await runZblkfs('mount', db, dir)
    await runZblkfs('umount', dir)
    const result = await runZblkfs('mount', db, dir, '-o', 'at=1990-01-01')
    expectFailure(result, 1, /1990-01-01/)
  })

  test.runIf(isRoot)('a database that one has no permission for', async () => {
    await chmod(scratch, 0o755)
    await writeFile(db, '')
    await chmod(db, 0o600)
    const result = await runProgram('setpriv', [
      `--reuid=${NOBODY}`,
      `--regid=${NOBODY}`,
      '--clear-groups',
      ZBLKFS,
      'mount',
      db,
      dir,
    ])
    expectFailure(result, 1, /permission/i)
  })

  /** Runs the command with the machine changed by a script, in a mount namespace that ends with it. */
  const runIn = (preparation: string, ...options: readonly string[]): Promise<CommandResult> =>
    runProgram(
      'unshare',
      ['--mount', 'sh', '-ec', `${preparation}; "$0" mount "$@"; "$0" umount '${dir}'`, ZBLKFS].concat(
        [db, dir],
        options,
      ),
    )
  const DEV =
    'mount -t tmpfs dev /dev; mknod -m 666 /dev/null c 1 3; mknod -m 666 /dev/zero c 1 5; mknod -m 666 /dev/urandom c 1 9'

  test.runIf(canUnshare).each(['auto', 'kernel', 'fuse-native'])('no /dev/fuse (driver=%s)', async driver => {
    expectFailure(
      await runIn(DEV, '-o', `driver=${driver}`),
      1,
      /\/dev\/fuse cannot be opened.*modprobe fuse/,
    )
  })

  test.runIf(canUnshare)('no libfuse2, with the driver that needs it', async () => {
    const hide =
      'for f in $(ldconfig -p | sed -n "s/.*libfuse.so.2.* => //p"); do mount --bind /dev/null $f; done'
    expectFailure(await runIn(hide, '-o', 'driver=fuse-native'), 1, /libfuse2.*apt-get install libfuse2/)
    const kernel = await runIn(hide, '-o', 'driver=kernel')
    expect(kernel).toMatchObject({ exitCode: 0, stderr: '' })
    expect(kernel.stdout).toMatch(/is mounted at .*\n.*is unmounted, all is stored/)
  })
})
