/**
 * A mount whose daemon is killed (SIGKILL), at targeted moments: the first sign of a commit or a checkpoint in
 * the database's directory, or some time after a pack began. The point of interruption is read from SQLite's
 * shared memory, which survives the process:
 *
 * | in `-shm`                                   | at      | means                                                       |
 * |---------------------------------------------|---------|-------------------------------------------------------------|
 * | szPage, mxFrame                             | 14, 16  | the page's size; the last frame of the last whole commit    |
 * | nBackfill, nBackfillAttempted               | 96, 128 | frames that checkpoints have copied, and intended to copy   |
 *
 * A frame after the last valid one, with the salt of the WAL's header: a commit was being written. Source:
 * sqlite.org/walformat.html.
 *
 * The daemon stays in the foreground, so that it is a single process, and the dead mount stays until
 * {@link KilledMount.unmountDead}: until then its users get ENOTCONN.
 */
import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { watch } from 'node:fs'
import { mkdir, readFile } from 'node:fs/promises'
import { basename, join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { fileURLToPath } from 'node:url'
import { controlPaths } from '../../mount/daemon/control-path.ts'
import { callDaemon } from '../../mount/daemon/control-protocol.ts'
import { ownerOf } from '../../mount/daemon/mounts.ts'
import { mountedAt } from '../../mount/mount-points/mount-table.ts'
import { runProgram } from '../tools/run-zblkfs.ts'

export type Aim = 'anything' | 'commit' | 'checkpoint' | 'pack'

/** The activity that a kill interrupted. */
export interface Interrupted {
  readonly commit: boolean
  readonly checkpoint: boolean
  readonly pack: boolean
}

const MAIN = fileURLToPath(new URL('../../scripts/main.ts', import.meta.url))
/** Timeout: the targeted activity may not occur. */
const AIM_MS = 1500
const PACK_POLL_MS = 20
const CALL_MS = 10_000
const EXIT_MS = 2000
const WAL_HEADER_BYTES = 32
const FRAME_HEADER_BYTES = 24

export class KilledMount {
  readonly dir: string
  readonly db: string
  readonly #scratch: string
  #daemon: ChildProcess | undefined
  #output = ''
  #isPacking = false

  /** @param scratch - an empty directory. @param db a database on a server; absent: a new file. */
  constructor(scratch: string, db?: string) {
    this.#scratch = scratch
    this.dir = join(scratch, 'mnt')
    this.db = db ?? join(scratch, 'data.zblk')
  }

  /** Mounts. @throws Error with the daemon's output on failure. */
  async start(options: readonly string[]): Promise<void> {
    await mkdir(this.dir, { recursive: true })
    const parameters = [MAIN, 'mount', '-f', '--log-level', 'error', this.db, this.dir]
    const daemon = spawn(process.execPath, [...parameters, ...options.flatMap(option => ['-o', option])], {
      stdio: ['ignore', 'pipe', 'pipe'],
      // Ctrl-C in a terminal must reach this process alone, which then unmounts.
      detached: true,
      env: { ...process.env, NODE_COMPILE_CACHE: join(this.#scratch, 'compiled') },
    })
    this.#daemon = daemon
    this.#output = ''
    daemon.stderr.on('data', (data: Buffer) => (this.#output += data.toString()))
    const [first] = (await Promise.race([once(daemon.stdout, 'data'), once(daemon, 'close')])) as [unknown]
    if (!Buffer.isBuffer(first)) throw new Error(`the daemon has ended: ${this.#output}`)
  }

  /** The daemon's output; empty unless something failed. */
  get output(): string {
    return this.#output
  }

  /** Kills the daemon `afterMs` from now, or at the first sign of `aim` after that. */
  async kill(aim: Aim, afterMs: number): Promise<void> {
    this.#isPacking = false
    await sleep(afterMs)
    if (aim === 'pack') await this.#beginPack(afterMs)
    else if (aim !== 'anything') await this.#untilWritten(aim === 'commit' ? '-wal' : '')
    await this.end()
  }

  /** Stops the daemon (SIGSTOP), or continues it (SIGCONT). */
  signal(signal: NodeJS.Signals): void {
    this.#daemon?.kill(signal)
  }

  /** Kills the daemon now. */
  async end(): Promise<void> {
    const daemon = this.#daemon
    if (daemon === undefined || daemon.exitCode !== null || daemon.signalCode !== null) return
    const exit = once(daemon, 'exit')
    daemon.kill('SIGKILL')
    // A thread that waits for a page of a request in progress ends with the connection.
    const isOver = await Promise.race([exit.then(() => true), sleep(EXIT_MS, false)])
    if (!isOver) await runProgram('umount', ['-f', this.dir])
    await exit
  }

  /** Unmounts the dead mount. */
  async unmountDead(): Promise<void> {
    while (mountedAt(this.dir) !== undefined) await runProgram('umount', ['-l', this.dir])
  }

  /** The activity that the kill interrupted. To be called before the next start. */
  async interrupted(): Promise<Interrupted> {
    const none = Buffer.alloc(0)
    const shm = await readFile(`${this.db}-shm`).catch(() => none)
    const wal = await readFile(`${this.db}-wal`).catch(() => none)
    const pack = this.#isPacking
    if (shm.length < 136 || wal.length < WAL_HEADER_BYTES) return { commit: false, checkpoint: false, pack }
    const pageBytes = shm.readUInt16LE(14) === 1 ? 65_536 : shm.readUInt16LE(14)
    const next = WAL_HEADER_BYTES + shm.readUInt32LE(16) * (FRAME_HEADER_BYTES + pageBytes)
    const salt = wal.subarray(16, 24)
    const commit = wal.length > next + 16 && wal.subarray(next + 8, next + 16).equals(salt)
    return { commit, checkpoint: shm.readUInt32LE(96) !== shm.readUInt32LE(128), pack }
  }

  /** Packs to the present. @throws Error with the cause of the failure. */
  async pack(): Promise<void> {
    const paths = await this.#control()
    if (paths === undefined) return
    await callDaemon(paths, 'pack', { before: '0s' }, CALL_MS)
    for (;;) {
      const status = await callDaemon(paths, 'packStatus', {}, CALL_MS)
      if (status.state === 'done') return
      if (status.state !== 'running') throw new Error(`the pack is ${JSON.stringify(status)}`)
      await sleep(PACK_POLL_MS)
    }
  }

  async #control(): Promise<Awaited<ReturnType<typeof controlPaths>> | undefined> {
    const mount = mountedAt(this.dir)
    return mount === undefined ? undefined : await controlPaths(mount.device, ownerOf(mount))
  }

  async #beginPack(forMs: number): Promise<void> {
    const paths = await this.#control()
    if (paths === undefined) return
    await callDaemon(paths, 'pack', { before: '0s' }, CALL_MS)
    await sleep(forMs / 5)
    this.#isPacking = (await callDaemon(paths, 'packStatus', {}, CALL_MS)).state === 'running'
  }

  /** Waits until a file of the database is written to. */
  async #untilWritten(suffix: string): Promise<void> {
    const name = basename(this.db) + suffix
    const written = Promise.withResolvers<void>()
    const watcher = watch(this.#scratch, (_, file) => {
      if (file === name) written.resolve()
    })
    await Promise.race([written.promise, sleep(AIM_MS)])
    watcher.close()
  }
}
