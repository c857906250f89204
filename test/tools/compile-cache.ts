/**
 * Fills the compile cache of Node with the modules that worker threads load, before a run. V8 crashes now and then when a worker
 * thread strips types: the stripper is WebAssembly, whose code V8 frees when the thread ends.
 */
import { execFileSync } from 'node:child_process'
import { chmodSync, mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'

const CACHE = 'NODE_COMPILE_CACHE'
/** What worker threads run. Outside a worker they throw, once their imports are compiled. */
const FILES = ['store/sqlite/writer/writer.ts', 'store/sqlite/pack/pack-thread.ts']

export function setup(): (() => void) | undefined {
  const isGiven = process.env[CACHE] !== undefined
  const directory = process.env[CACHE] ?? mkdtempSync(join(tmpdir(), 'zblkfs-compiled-'))
  // Some tests run processes as other users.
  if (!isGiven) chmodSync(directory, 0o777)
  process.env[CACHE] = directory
  const script = `for (const file of ${JSON.stringify(FILES)}) await import(process.cwd() + '/' + file).catch(() => undefined)`
  execFileSync(process.execPath, ['--input-type=module', '--eval', script])
  return isGiven ? undefined : () => rmSync(directory, { recursive: true, force: true })
}
