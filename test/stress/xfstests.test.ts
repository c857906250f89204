/** The command that runs xfstests, with a stand-in for its `check`: mounts, remounts and exclusions are as it needs them. */
import { chmodSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { expect, test } from 'vitest'
import { runProgram } from '../tools/run-zblkfs.ts'

const SCRIPT = join(import.meta.dirname, 'xfstests.sh')

/** What `check` does with its configuration before and after each test, in a few lines. */
const CHECK = `#!/bin/sh
set -eu
. "$HOST_OPTIONS"
echo "given $*"
grep -c generic/ "$2"
echo kept > "$TEST_DIR/file"
umount "$TEST_DEV" 2>/dev/null || umount "$TEST_DIR"
mount -t $FSTYP$FUSE_SUBTYP $TEST_FS_MOUNT_OPTS "$TEST_DEV" "$TEST_DIR"
cat "$TEST_DIR/file"
mount -t $FSTYP$FUSE_SUBTYP $MOUNT_OPTIONS "$SCRATCH_DEV" "$SCRATCH_MNT"
stat -f -c %T "$SCRATCH_MNT"
umount "$SCRATCH_MNT"
`

test.runIf(process.getuid?.() === 0)('mounts for xfstests, and cleans up', { timeout: 120_000 }, async () => {
  const directory = mkdtempSync(join(tmpdir(), 'zblkfs-xfstests-'))
  try {
    writeFileSync(join(directory, 'check'), CHECK)
    chmodSync(join(directory, 'check'), 0o755)
    const { exitCode, stdout, stderr } = await runProgram('env', [
      `XFSTESTS_DIR=${directory}`,
      SCRIPT,
      'generic/001',
    ])
    expect(stderr).toBe('')
    expect(exitCode).toBe(0)
    expect(stdout).toMatch(/given -E \S+ generic\/001\n\d+\n/)
    expect(stdout).toMatch(/^kept$/m)
    expect(stdout).toMatch(/^fuseblk|^fuse$/m)
  } finally {
    rmSync(directory, { recursive: true })
  }
})

test('reports missing parts if it is not installed', async () => {
  const { exitCode, stderr } = await runProgram('env', ['XFSTESTS_DIR=/nowhere', SCRIPT])
  expect(exitCode).toBe(2)
  expect(stderr).toContain('set XFSTESTS_DIR')
})
