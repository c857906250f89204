/** What two users may do to each kind of file is what the host's filesystem lets them do. */
import { chmodSync, mkdirSync, mkdtempSync, rmSync, statfsSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { expect, test } from 'vitest'
import { withMount } from '../tools/mounted.ts'
import { runProgram } from '../tools/run-zblkfs.ts'

const SCRIPT = join(import.meta.dirname, 'two-users.py')
const TIMEOUT_MS = 600_000
/** linux/magic.h: ext4, xfs, btrfs and tmpfs are what is compared with; others have rules of their own. */
const KNOWN_TYPES: ReadonlySet<number> = new Set([0xef53, 0x58465342, 0x9123683e, 0x01021994])

type Table = Readonly<Record<string, unknown>>

async function tableOf(directory: string): Promise<Table> {
  const top = join(directory, 'users')
  mkdirSync(top)
  chmodSync(top, 0o755)
  const { exitCode, stdout, stderr } = await runProgram('python3', [SCRIPT, top], TIMEOUT_MS)
  expect(stderr).toBe('')
  expect(exitCode).toBe(0)
  return JSON.parse(stdout) as Table
}

/** A directory of the host's own filesystem, or of a tmpfs if that is of another kind. */
async function withHost<T>(use: (directory: string) => Promise<T>): Promise<T> {
  const directory = mkdtempSync(join(tmpdir(), 'zblkfs-users-'))
  chmodSync(directory, 0o755)
  const isKnown = KNOWN_TYPES.has(statfsSync(directory).type)
  if (!isKnown) await runProgram('mount', ['-t', 'tmpfs', 'users', directory])
  try {
    return await use(directory)
  } finally {
    if (!isKnown) await runProgram('umount', [directory])
    rmSync(directory, { recursive: true })
  }
}

test.runIf(process.getuid?.() === 0)(
  'two users get the same results as on the host, for every operation and kind of file',
  { timeout: 2 * TIMEOUT_MS },
  async () => {
    const host = await withHost(tableOf)
    const ours = await withMount(
      { driver: 'kernel', options: ['allow_other', 'dev', 'suid'] },
      async mount => {
        chmodSync(mount.scratch, 0o755)
        chmodSync(mount.dir, 0o755)
        return await tableOf(mount.dir)
      },
    )
    expect(Object.keys(ours).length).toBeGreaterThan(1029)
    const differing = Object.keys(host).filter(key => JSON.stringify(host[key]) !== JSON.stringify(ours[key]))
    expect(differing.map(key => ({ key, host: host[key], ours: ours[key] }))).toEqual([])
  },
)
