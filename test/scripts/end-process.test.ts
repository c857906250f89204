/** How a process ends when a thread of it waits for a file that does not answer. */
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { expect, onTestFinished, test } from 'vitest'
import { runProgram } from '../tools/run-zblkfs.ts'

const MODULE = new URL('../../scripts/end-process.ts', import.meta.url)

test.each([
  ['a process that succeeded ends by SIGALRM', 0, 128 + 14],
  ['a process that failed ends with an exit code', 1, 14],
])('%s', async (_what, code, exitCode) => {
  const scratch = await mkdtemp(join(tmpdir(), 'zblkfs-end-'))
  onTestFinished(() => rm(scratch, { recursive: true }))
  const script = `
    import { open } from 'node:fs'
    import { endProcess } from ${JSON.stringify(MODULE)}
    open('fifo', () => undefined)
    setTimeout(() => endProcess(${code}, { info: (_, text) => console.log(text) }, { timeoutS: 1 }), 100)`
  const shell = 'cd "$1" && mkfifo fifo && "$2" --input-type=module -e "$3" 2>/dev/null; echo "exit $?"'
  const { stdout } = await runProgram('sh', ['-c', shell, 'sh', scratch, process.execPath, script])
  expect(stdout).toContain('file accesses are still in progress: the process ends within 1 s regardless\n')
  expect(stdout).toContain(`exit ${exitCode}\n`)
})
