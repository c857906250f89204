/**
 * Actions that tests run in other processes: `node child.ts ACTION ARGS...`, started by {@link inChild}.
 * An action prints `ready` when its parent may continue.
 */
import { spawn } from 'node:child_process'
import {
  closeSync,
  mkdirSync,
  openSync,
  readFileSync,
  readSync,
  rmdirSync,
  unlinkSync,
  writeSync,
} from 'node:fs'
import { fileURLToPath } from 'node:url'
import { ftruncate, flock, LOCK_EX, LOCK_NB, LOCK_UN, Mapping, setLock } from './syscalls.ts'

const code = (error: unknown): string => (error as NodeJS.ErrnoException).code ?? String(error)
const say = (line: string): void => void writeSync(1, `${line}\n`)

/** Runs an action and ignores that another process was faster. */
function unlessLost(action: () => void): void {
  try {
    action()
  } catch (error) {
    if (!['EEXIST', 'ENOENT', 'ENOTEMPTY'].includes(code(error))) throw error
  }
}

const ACTIONS = {
  touchBelowCut(path: string) {
    const fd = openSync(path, 'r+')
    const map = new Mapping(fd, 16_384)
    ftruncate(fd, 4096)
    map.bytes[12_288] = 1
  },

  writeThroughMap(path: string, data: string) {
    const fd = openSync(path, 'r+')
    using map = new Mapping(fd, 4096)
    map.bytes.write(data)
  },

  tryFlock(path: string) {
    try {
      flock(openSync(path, 'r'), LOCK_EX | LOCK_NB)
      say('locked')
    } catch (error) {
      say(code(error))
    }
  },

  waitForFlock(path: string) {
    const fd = openSync(path, 'r')
    say('ready')
    flock(fd, LOCK_EX)
    say('locked')
  },

  trySetLock(path: string, off: string, len: string) {
    try {
      setLock(openSync(path, 'r+'), { type: 'write', off: Number(off), len: Number(len) })
      say('locked')
    } catch (error) {
      say(['EAGAIN', 'EACCES'].includes(code(error)) ? 'busy' : code(error))
    }
  },

  holdLock(path: string) {
    setLock(openSync(path, 'r+'), { type: 'write', off: 0, len: 0 })
    say('ready')
    setInterval(() => undefined, 1000)
  },

  appendLines(path: string, lines: string, index: string) {
    const fd = openSync(path, 'a')
    for (let line = 0; line < Number(lines); line++) writeSync(fd, `${index} ${line} ${'x'.repeat(80)}\n`)
    closeSync(fd)
  },

  createExclusively(directory: string, count: string) {
    let won = 0
    for (let at = 0; at < Number(count); at++)
      unlessLost(() => {
        closeSync(openSync(`${directory}/${at}`, 'wx'))
        won++
      })
    say(`${won}`)
  },

  writeStripes(path: string, processes: string, stripes: string, index: string) {
    const fd = openSync(path, 'r+')
    const data = Buffer.alloc(5000, 1 + Number(index))
    for (let stripe = Number(index); stripe < Number(stripes); stripe += Number(processes))
      writeSync(fd, data, 0, data.length, stripe * data.length)
    closeSync(fd)
  },

  countUnderFlock(path: string, turns: string) {
    const fd = openSync(path, 'r+')
    const bytes = Buffer.alloc(16)
    for (let turn = 0; turn < Number(turns); turn++) {
      flock(fd, LOCK_EX)
      const count = Number(bytes.toString('latin1', 0, readSync(fd, bytes, 0, 16, 0)))
      writeSync(fd, `${count + 1}`, 0)
      flock(fd, LOCK_UN)
    }
  },

  readWhole(path: string, times: string) {
    for (let time = 0; time < Number(times); time++) {
      const content = readFileSync(path, 'latin1')
      if (content !== content.slice(0, 1).repeat(5000))
        throw new Error(`read ${content.length} bytes beginning ${content.slice(0, 20)}`)
    }
  },

  churn(directory: string, rounds: string, index: string) {
    for (let round = 0; round < Number(rounds); round++) {
      const path = `${directory}/${round % 5}`
      unlessLost(() => mkdirSync(path))
      unlessLost(() => closeSync(openSync(`${path}/${index}`, 'w')))
      unlessLost(() => unlinkSync(`${path}/${index}`))
      unlessLost(() => rmdirSync(path))
    }
    for (let at = 0; at < 5; at++) unlessLost(() => rmdirSync(`${directory}/${at}`))
  },
} as const satisfies Record<string, (...args: string[]) => void>

/** How a child ended. */
export interface Ended {
  readonly code: number | null
  readonly signal: string | null
  /** What it wrote, its lines joined by spaces. */
  readonly output: string
}

/** A child that runs an action. */
export interface Child {
  readonly pid: number | undefined
  /** Settles when it has printed `ready` (or ended). */
  readonly ready: Promise<void>
  readonly ended: Promise<Ended>
  kill(): void
}

/** Starts an action in a process of its own. */
export function startChild(action: keyof typeof ACTIONS, ...args: readonly string[]): Child {
  const child = spawn(process.execPath, [fileURLToPath(import.meta.url), action, ...args], {
    stdio: ['ignore', 'pipe', 'pipe'],
    timeout: 60_000,
  })
  let output = ''
  const ended = new Promise<Ended>(resolve => {
    child.on('close', (code, signal) =>
      resolve({ code, signal, output: output.trim().replaceAll('\n', ' ') }),
    )
  })
  const ready = new Promise<void>(resolve => {
    child.stdout.on('data', (data: Buffer) => {
      output += data.toString()
      if (output.includes('ready')) resolve()
    })
    child.on('close', () => resolve())
  })
  child.stderr.on('data', (data: Buffer) => (output += data.toString()))
  return { pid: child.pid, ready, ended, kill: () => void child.kill('SIGKILL') }
}

/** Runs an action in a process of its own to its end. */
export const inChild = (action: keyof typeof ACTIONS, ...args: readonly string[]): Promise<Ended> =>
  startChild(action, ...args).ended

if (import.meta.main) {
  const [action = '', ...args] = process.argv.slice(2)
  const run = (ACTIONS as Record<string, ((...args: string[]) => void) | undefined>)[action]
  if (run === undefined) throw new Error(`no action is called ${action}`)
  run(...args)
}
