/** The suite on the host's own filesystems, to show that the tests ask what Linux gives. */
import { chmodSync, mkdtempSync, rmSync, statfsSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { EXT4, TMPFS } from './exclusions.ts'
import { describeSuite, runSuite } from './suite.ts'

const EXT4_MAGIC = 0xef53
const TMPFS_MAGIC = 0x01021994

const HOSTS = [
  { title: "posix on the host's ext4", parent: tmpdir(), magic: EXT4_MAGIC, exclusions: EXT4 },
  { title: "posix on the host's tmpfs", parent: '/dev/shm', magic: TMPFS_MAGIC, exclusions: TMPFS },
]

for (const { title, parent, magic, exclusions } of HOSTS) {
  if (statfsSync(parent).type !== magic) continue
  describeSuite(title, exclusions, async () => {
    const dir = mkdtempSync(join(parent, 'zblkfs-posix-'))
    chmodSync(dir, 0o755)
    try {
      return await runSuite(dir)
    } finally {
      rmSync(dir, { recursive: true, force: true })
    }
  })
}
