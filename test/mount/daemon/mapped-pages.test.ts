/** Bytes that a program has written through a shared mapping and not synced. */
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { readFile, stat, truncate, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { expect, test } from 'vitest'
import { withMount } from '../../tools/mounted.ts'
import { runProgram, runZblkfs } from '../../tools/run-zblkfs.ts'

const MIB = 1 << 20

/** Maps 1 MiB of a file, writes a letter to all of it whenever a line with one comes, and keeps the mapping. */
const WRITER = `
import mmap, os, sys
fd = os.open(sys.argv[1], os.O_RDWR | os.O_CREAT)
os.ftruncate(fd, ${MIB})
m = mmap.mmap(fd, ${MIB})
for line in sys.stdin:
    m[:] = line.strip().encode() * ${MIB}
    print('written', flush=True)
`

/** Runs `body` with a function that writes through a mapping of `file`. */
async function withMapping(
  file: string,
  body: (write: (letter: string) => Promise<void>) => Promise<void>,
): Promise<void> {
  const child = spawn('python3', ['-c', WRITER, file], { stdio: ['pipe', 'pipe', 'inherit'] })
  const ended = once(child, 'exit')
  try {
    await body(async letter => {
      child.stdin.write(`${letter}\n`)
      await once(child.stdout, 'data')
    })
  } finally {
    child.stdin.end()
    await ended
  }
}

const program = async (command: string, ...parameters: readonly string[]): Promise<string> => {
  const { exitCode, stdout, stderr } = await runProgram('timeout', ['30', command, ...parameters])
  expect(`${exitCode}: ${stderr}`).toBe('0: ')
  return stdout
}

test('copies, synced moments and clones include changes of a mapping', async () => {
  await withMount({ options: ['commit_interval=1h'] }, async ({ dir, scratch }) => {
    const file = join(dir, 'mapped')
    await withMapping(file, async write => {
      await write('a')
      await program('cp', '--sparse=auto', '--reflink=never', file, join(scratch, 'copy'))
      expect((await readFile(join(scratch, 'copy'))).equals(Buffer.alloc(MIB, 'a'))).toBe(true)

      await write('b')
      const { stdout } = await runZblkfs('sync', dir)
      expect((await readFile(join(dir, `@${stdout.trim()}`, 'mapped'))).equals(Buffer.alloc(MIB, 'b'))).toBe(
        true,
      )

      await write('c')
      expect(await runZblkfs('clone', file, join(dir, 'clone'))).toMatchObject({ exitCode: 0 })
      expect((await readFile(join(dir, 'clone'))).equals(Buffer.alloc(MIB, 'c'))).toBe(true)
    })
  })
})

test('st_blocks and du count holes filled through a mapping', async () => {
  await withMount({ options: ['commit_interval=1h'] }, async ({ dir }) => {
    const file = join(dir, 'mapped')
    await writeFile(file, '')
    await truncate(file, MIB)
    expect((await stat(file)).blocks).toBe(0)
    await withMapping(file, async write => {
      expect((await stat(file)).blocks).toBe(0)
      await write('g')
      // Pages are not collected again within a tenth of a second.
      await sleep(150)
      expect((await stat(file)).blocks).toBe(MIB / 512)
      expect(await program('du', '-k', file)).toBe(`1024\t${file}\n`)
    })
    expect((await stat(file)).blocks).toBe(MIB / 512)
  })
})

test('a seek to the end of a file with holes collects no pages, and finds the size', async () => {
  await withMount({ options: ['commit_interval=1h'] }, async ({ dir }) => {
    const file = join(dir, 'sparse')
    const rounds = async (): Promise<number> => {
      const { operations } = JSON.parse(await readFile(join(dir, '.zblkfs', 'stats'), 'utf8')) as {
        operations: Record<string, number>
      }
      return operations['opendir'] ?? 0
    }
    await writeFile(file, '')
    await truncate(file, MIB)
    const before = await rounds()
    // Pages are not collected again within a tenth of a second.
    const seek = `import os, sys, time
fd = os.open(sys.argv[1], os.O_RDWR)
for i in range(3):
    time.sleep(0.15)
    os.pwrite(fd, b"s", ${MIB} + i)
    print(os.lseek(fd, 0, os.SEEK_END))`
    expect(await program('python3', '-c', seek, file)).toBe(`${MIB + 1}\n${MIB + 2}\n${MIB + 3}\n`)
    // A process that collects pages opens the mount.
    expect(await rounds()).toBe(before)
  })
})

test('copy_file_range copies changes of a mapping of its source', async () => {
  await withMount({ options: ['commit_interval=1h'] }, async ({ dir }) => {
    const file = join(dir, 'mapped')
    await withMapping(file, async write => {
      await write('d')
      const copy = `import os, sys
a, b = os.open(sys.argv[1], os.O_RDONLY), os.open(sys.argv[2], os.O_WRONLY | os.O_CREAT)
print(os.copy_file_range(a, b, ${MIB}))`
      expect(await program('python3', '-c', copy, file, join(dir, 'copy'))).toBe(`${MIB}\n`)
      expect((await readFile(join(dir, 'copy'))).equals(Buffer.alloc(MIB, 'd'))).toBe(true)
    })
  })
})

test('the commit timer stores changes of a mapping', async () => {
  await withMount({ options: ['commit_interval=500ms'] }, async mount => {
    const { dir } = mount
    const file = join(dir, 'mapped')
    await withMapping(file, async write => {
      await write('e')
      await runZblkfs('sync', dir)
      const before = await readFile(join(dir, '.zblkfs', 'at'), 'utf8')
      await write('f')
      await expect
        .poll(async () => (await readFile(join(dir, '.zblkfs', 'at'), 'utf8')) !== before, {
          timeout: 20_000,
        })
        .toBe(true)
      await mount.kill()
    })
    await mount.remount()
    expect((await readFile(file)).equals(Buffer.alloc(MIB, 'f'))).toBe(true)
  })
})
