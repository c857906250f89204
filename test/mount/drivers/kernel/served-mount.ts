/**
 * A mount for tests, served by a child process: a process that touches a mount that it serves itself would hang. The
 * child is this same file; it runs MemoryOperations and takes orders over its IPC channel.
 */
import { type ChildProcess, fork, spawnSync } from 'node:child_process'
import { once } from 'node:events'
import { chmodSync, chownSync, mkdirSync, mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { pino } from 'pino'
import type { MountOptions } from '../../../../mount/drivers/driver.ts'
import { mountFuseNative } from '../../../../mount/drivers/fuse-native/driver.ts'
import { mountKernel } from '../../../../mount/drivers/kernel/driver.ts'
import { ROOT_INO, name as toName } from '../../../../core/file-system/operations.ts'
import { MemoryOperations } from '../../../tools/memory-operations.ts'

/** A command that takes longer hangs, also on a machine under load: a little less than vitest's own bound, to be named. */
const HANG_S = 240

type ServerOptions = Partial<Omit<MountOptions, 'log'>> & {
  readonly uid?: number
  readonly driver?: 'kernel' | 'fuse-native'
  /** Where the server finds programs. */
  readonly searchPath?: string
}

/** Commands to the server. */
type Order =
  | { readonly do: 'unmount'; readonly lazy?: boolean }
  | { readonly do: 'poke'; readonly name: string; readonly off: number; readonly text: string }
  | { readonly do: 'vanish'; readonly name: string }
  | { readonly do: 'invalidate'; readonly name: string; readonly entry: boolean }
  | { readonly do: 'hold-fsync' }
  | { readonly do: 'release-fsync' }
  | { readonly do: 'inodes' }
  | { readonly do: 'forget'; readonly names: readonly string[] }
  | { readonly do: 'references'; readonly name: string }

export class ServedMount {
  readonly path: string
  readonly server: ChildProcess
  readonly #directory: string

  private constructor(directory: string, path: string, server: ChildProcess) {
    this.#directory = directory
    this.path = path
    this.server = server
  }

  /** Mounts on a new directory. @throws Error with the server's message if that fails. */
  static async start(options: ServerOptions = {}): Promise<ServedMount> {
    const directory = mkdtempSync(join(tmpdir(), 'zblkfs-kernel-test-'))
    const path = join(directory, 'mnt')
    chmodSync(directory, 0o755)
    mkdirSync(path)
    if (options.uid !== undefined) chownSync(path, options.uid, options.uid)
    const settings: ServerOptions = { mountPoint: path, source: 'memory', ...options }
    const server = fork(import.meta.filename, [JSON.stringify(settings)], {
      ...(options.uid !== undefined && { uid: options.uid, gid: options.uid }),
      ...(options.searchPath !== undefined && { env: { PATH: options.searchPath } }),
      stdio: ['ignore', 'inherit', 'inherit', 'ipc'],
    })
    const mount = new ServedMount(directory, path, server)
    const [answer] = (await once(server, 'message')) as [{ error?: string }]
    if (answer.error !== undefined) {
      await mount.stop()
      throw new Error(answer.error)
    }
    return mount
  }

  /** Runs a shell command with the mount as working directory; returns its output. @throws if it fails. */
  run(command: string, options: { readonly uid?: number; readonly timeoutS?: number } = {}): string {
    const { uid, timeoutS = HANG_S } = options
    const prefix = uid === undefined ? [] : ['setpriv', `--reuid=${uid}`, `--regid=${uid}`, '--clear-groups']
    const result = spawnSync(
      'timeout',
      ['-s', 'KILL', String(timeoutS), ...prefix, 'bash', '-ec', `cd "$0"; ${command}`, this.path],
      { encoding: 'utf8', maxBuffer: 1 << 26 },
    )
    if (result.status !== 0)
      throw new Error(`'${command}' ended with ${result.status ?? result.signal}: ${result.stderr}`)
    return result.stdout
  }

  /** Runs a Python program on the mount; it reaches system calls that no command has. */
  python(program: string): string {
    return this.run(`/usr/bin/env python3 - <<'END'\n${program}\nEND`)
  }

  async order(order: Order): Promise<unknown> {
    this.server.send(order)
    const [answer] = (await once(this.server, 'message')) as [{ error?: string; result?: unknown }]
    if (answer.error !== undefined) throw new Error(answer.error)
    return answer.result
  }

  /** Unmounts, ends the server and removes the directory, whatever state they are in. */
  async stop(): Promise<void> {
    spawnSync('umount', ['-l', this.path])
    if (this.server.exitCode === null && this.server.signalCode === null) {
      const exit = once(this.server, 'exit')
      this.server.kill('SIGCONT')
      this.server.kill('SIGKILL')
      await exit
    }
    rmSync(this.#directory, { recursive: true, force: true })
  }
}

async function serve(settings: ServerOptions): Promise<void> {
  const operations = new MemoryOperations()
  const { mountPoint = '', source = '' } = settings
  const log = pino({ level: 'error' }, pino.destination(2))
  const mount = settings.driver === 'fuse-native' ? mountFuseNative : mountKernel
  const driver = await mount(operations, { ...settings, mountPoint, source, log })
  let releaseFsync: (() => void) | undefined
  let answered: Promise<unknown> = Promise.resolve()
  process.on('message', (order: Order) => {
    answered = (async () => execute(order))().then(
      result => process.send?.({ result }),
      (error: Error) => process.send?.({ error: error.message }),
    )
  })
  process.send?.({})
  await driver.done
  await answered
  setImmediate(() => process.disconnect())

  function execute(order: Order): unknown {
    switch (order.do) {
      case 'unmount':
        return driver.unmount(order.lazy)
      case 'poke':
        return operations.poke(
          operations.find(ROOT_INO, order.name),
          BigInt(order.off),
          Buffer.from(order.text),
        )
      case 'vanish':
        return operations.vanish(ROOT_INO, order.name)
      case 'invalidate':
        if (order.entry) operations.notifier?.invalidateEntry(ROOT_INO, toName(order.name))
        else operations.notifier?.invalidateInode(operations.find(ROOT_INO, order.name), 0n, 0n)
        return operations.notifier?.settled()
      case 'hold-fsync':
        operations.fsyncGate = new Promise(resolve => (releaseFsync = resolve))
        return undefined
      case 'release-fsync':
        return releaseFsync?.()
      case 'inodes':
        return operations.inodes
      case 'forget':
        return operations.notifier?.forgetUnused?.(order.names.map(name => operations.find(ROOT_INO, name)))
      case 'references':
        return operations.references(ROOT_INO, order.name)
      default:
        throw new Error('an order that is not known')
    }
  }
}

if (process.argv[1] === import.meta.filename)
  try {
    await serve(JSON.parse(process.argv[2] ?? '{}') as ServerOptions)
  } catch (error) {
    process.send?.({ error: error instanceof Error ? error.message : String(error) })
    process.disconnect()
  }
