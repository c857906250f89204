/** Random sequences of file operations give the same results and error codes as node:fs/promises on the host. */
import * as fc from 'fast-check'
import { mkdtemp, rm } from 'node:fs/promises'
import * as host from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { expect, test } from 'vitest'
import { open, type Files } from '../../../index.ts'
import { temporaryDatabase } from '../../tools/temporary-database.ts'

const RUNS = Number(process.env['ZBLKFS_RUNS'] ?? 60)
const PATHS = ['a', 'b', 'd', 'd/a', 'd/e', 'd/e/a', 'd/../a', './b', 'a/', 'd/', 'd/l', 'l', 'd/e/..', 'x/y']

/** One operation on the host's directory or on a database; both take it. */
type Step = { readonly name: string; readonly run: (target: Target) => Promise<unknown> }

interface Target {
  readonly files: Pick<
    Files,
    | 'readFile'
    | 'writeFile'
    | 'appendFile'
    | 'mkdir'
    | 'rmdir'
    | 'unlink'
    | 'rename'
    | 'link'
    | 'symlink'
    | 'readlink'
    | 'truncate'
    | 'chmod'
    | 'copyFile'
  >
  readdir(path: string): Promise<readonly string[]>
  stat(path: string, follows: boolean): Promise<unknown>
  readonly at: (path: string) => string
}

const path = fc.constantFrom(...PATHS)
const size = fc.constantFrom(0, 1, 100, 4096, 10_000)
const content = fc.tuple(fc.constantFrom('q', 'r'), size).map(([letter, length]) => letter.repeat(length))

const step: fc.Arbitrary<Step> = fc.oneof(
  fc.tuple(path, content).map(([p, text]) => ({
    name: `writeFile ${p} ${text.length}`,
    run: ({ files, at }: Target) => files.writeFile(at(p), text),
  })),
  fc.tuple(path, content).map(([p, text]) => ({
    name: `writeFile wx ${p}`,
    run: ({ files, at }: Target) => files.writeFile(at(p), text, { flag: 'wx' }),
  })),
  fc.tuple(path, content).map(([p, text]) => ({
    name: `appendFile ${p} ${text.length}`,
    run: ({ files, at }: Target) => files.appendFile(at(p), text),
  })),
  path.map(p => ({ name: `readFile ${p}`, run: ({ files, at }: Target) => files.readFile(at(p), 'utf8') })),
  path.map(p => ({ name: `mkdir ${p}`, run: ({ files, at }: Target) => files.mkdir(at(p)).then(() => 0) })),
  path.map(p => ({
    name: `mkdir recursive ${p}`,
    run: ({ files, at }: Target) => files.mkdir(at(p), { recursive: true }).then(() => 0),
  })),
  path.map(p => ({ name: `rmdir ${p}`, run: ({ files, at }: Target) => files.rmdir(at(p)) })),
  path.map(p => ({ name: `unlink ${p}`, run: ({ files, at }: Target) => files.unlink(at(p)) })),
  path.map(p => ({ name: `readdir ${p}`, run: (target: Target) => target.readdir(p) })),
  path.map(p => ({ name: `stat ${p}`, run: (target: Target) => target.stat(p, true) })),
  path.map(p => ({ name: `lstat ${p}`, run: (target: Target) => target.stat(p, false) })),
  fc.tuple(path, path).map(([a, b]) => ({
    name: `rename ${a} ${b}`,
    run: ({ files, at }: Target) => files.rename(at(a), at(b)),
  })),
  fc.tuple(path, path).map(([a, b]) => ({
    name: `link ${a} ${b}`,
    run: ({ files, at }: Target) => files.link(at(a), at(b)),
  })),
  fc.tuple(fc.constantFrom('a', 'd', 'l', 'e/a', 'nowhere'), path).map(([a, b]) => ({
    name: `symlink ${a} ${b}`,
    run: ({ files, at }: Target) => files.symlink(a, at(b)),
  })),
  path.map(p => ({ name: `readlink ${p}`, run: ({ files, at }: Target) => files.readlink(at(p)) })),
  fc.tuple(path, size).map(([p, length]) => ({
    name: `truncate ${p} ${length}`,
    run: ({ files, at }: Target) => files.truncate(at(p), length),
  })),
  fc.tuple(path, fc.constantFrom(0o600, 0o644, 0o755)).map(([p, mode]) => ({
    name: `chmod ${p}`,
    run: ({ files, at }: Target) => files.chmod(at(p), mode),
  })),
)

interface AnyStats {
  readonly mode: number
  readonly size: number
  readonly nlink: number
  isDirectory(): boolean
}

/** What both sides must agree on; the size of a directory is its filesystem's affair. */
const seen = (stats: AnyStats): unknown => [
  stats.mode,
  stats.isDirectory() ? 0 : stats.size,
  stats.isDirectory() ? 0 : stats.nlink,
]

async function outcome(step: Step, target: Target): Promise<unknown> {
  try {
    return { result: (await step.run(target)) ?? null }
  } catch (error) {
    const code = (error as NodeJS.ErrnoException).code ?? String(error)
    // Node's recursive mkdir says either for a link that leads nowhere, by the depth at which it meets it.
    const isEither = step.name.startsWith('mkdir recursive') && code === 'ENOTDIR'
    return { code: isEither ? 'ENOENT' : code }
  }
}

test('files behave like those of node:fs/promises', { timeout: 300_000 }, async () => {
  const umask = process.umask(0o022)
  const db = await open(temporaryDatabase(), { create: true })
  try {
    await fc.assert(
      fc.asyncProperty(fc.array(step, { minLength: 1, maxLength: 40 }), async steps => {
        const directory = await mkdtemp(join(tmpdir(), 'zblkfs-test-'))
        const onHost: Target = {
          files: host as unknown as Target['files'],
          readdir: async p => (await host.readdir(`${directory}/${p}`)).sort(),
          stat: async (p, follows) => seen(await (follows ? host.stat : host.lstat)(`${directory}/${p}`)),
          at: p => `${directory}/${p}`,
        }
        const inDatabase: Target = {
          files: db.files,
          readdir: async p => (await db.files.readdir(p)).sort(),
          stat: async (p, follows) => seen(await (follows ? db.files.stat(p) : db.files.lstat(p))),
          at: p => p,
        }
        try {
          for (const one of steps)
            expect([one.name, await outcome(one, inDatabase)]).toEqual([one.name, await outcome(one, onHost)])
        } finally {
          for (const name of await db.files.readdir('/')) await db.files.rm(name, { recursive: true })
          await rm(directory, { recursive: true, force: true })
        }
      }),
      { numRuns: RUNS },
    )
  } finally {
    await db.close()
    process.umask(umask)
  }
})
