/** Copies what a mount has not stored, and cannot store any more, into a directory. */
import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { mkdir, readdir } from '../store/os-files-async.ts'
import type { EncodedPath } from '../mount/daemon/call-results.ts'
import { callDaemon } from '../mount/daemon/control-protocol.ts'
import { startable } from '../store/os-command.ts'
import { locate } from '../mount/mount-points/locate.ts'
import { isRoot } from '../core/process-owner.ts'
import { systemCode } from '../store/errors.ts'
import { CommandError } from './failure.ts'

const LIST_TIMEOUT_MS = 120_000
/** PATH_MAX: a longer path cannot be opened. */
const PATH_MAX_BYTES = 4095

export interface UnstoredFile {
  readonly kind: EncodedPath['kind']
  /** Relative to the mount; '.' is its root. */
  readonly path: Buffer
  readonly from: Buffer | undefined
}

/** What a mount has not stored, in the order of paths. */
export async function listUnstored(paths: readonly string[]): Promise<readonly UnstoredFile[]> {
  const files: UnstoredFile[] = []
  for (;;) {
    const answer = await callDaemon(paths, 'unstored', { from: files.length }, LIST_TIMEOUT_MS)
    for (const { kind, path, from } of answer.paths)
      files.push({ kind, path: decode(path), from: from === undefined ? undefined : decode(from) })
    if (answer.isEnd || answer.paths.length === 0) return files
  }
}

function decode(path: string): Buffer {
  const bytes = Buffer.from(path, 'base64')
  return bytes.length === 0 ? Buffer.from('.') : bytes
}

/** Makes the directory for a copy. @throws CommandError if it has entries, or is in a mount. */
export async function makeTarget(target: string): Promise<void> {
  if (locate(target).mount !== undefined)
    throw new CommandError(`${target} is in a zblkfs mount: name a directory on another filesystem`)
  await mkdir(target, { recursive: true }).catch((error: unknown) => {
    throw new CommandError(`${target} could not be made: ${systemCode(error) ?? String(error)}`, {
      cause: error,
    })
  })
  if ((await readdir(target)).length > 0)
    throw new CommandError(`${target} has entries: name a new directory`)
}

/**
 * Copies files, directories without their content, and links of a mount, with their attributes and holes.
 * @throws CommandError if not all could be copied; tar has printed why.
 */
export async function copyFiles(
  directory: string,
  target: string,
  files: readonly UnstoredFile[],
): Promise<void> {
  const wanted = files.filter(({ kind, path }) => kind !== 'removed' && path.length <= PATH_MAX_BYTES)
  const attributes = ['--xattrs', `--xattrs-include=${isRoot() ? '*' : 'user.*'}`]
  const [source = '', ...reading] = startable([
    'tar',
    '-C',
    directory,
    '--null',
    '--no-recursion',
    '--verbatim-files-from',
    '-S',
    ...attributes,
    '-T',
    '-',
    '-cf',
    '-',
  ])
  const [sink = '', ...writing] = startable(['tar', '-C', target, '-xpf', '-', ...attributes])
  const reader = spawn(source, reading, { stdio: ['pipe', 'pipe', 'inherit'] })
  const writer = spawn(sink, writing, { stdio: [reader.stdout, 'inherit', 'inherit'] })
  const ends = Promise.all([exitOf(reader), exitOf(writer)])
  reader.stdout.destroy()
  reader.stdin.on('error', () => undefined)
  reader.stdin.end(Buffer.concat(wanted.flatMap(({ path }) => [path, Buffer.from([0])])))
  if ((await ends).some(code => code !== 0))
    throw new CommandError(`not everything could be copied to ${target}: the reasons are above`)
  const tooDeep = files.filter(({ kind, path }) => kind !== 'removed' && path.length > PATH_MAX_BYTES)
  if (tooDeep.length > 0)
    throw new CommandError(
      `${tooDeep.length} paths are longer than ${PATH_MAX_BYTES} bytes, and were not copied`,
    )
}

async function exitOf(child: ChildProcess): Promise<number> {
  try {
    const [code] = (await once(child, 'close')) as [number | null]
    return code ?? 1
  } catch (error) {
    throw new CommandError(
      `tar, which copies the files, could not be run: ${systemCode(error) ?? String(error)}`,
      {
        cause: error,
      },
    )
  }
}
