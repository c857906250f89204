/** Long output: through a pager on a terminal, otherwise line by line with back-pressure. */
import { once } from 'node:events'
import type { Writable } from 'node:stream'
import type { LineFormat } from './line-format.ts'
import { drained } from './drained.ts'

/** Writes a line; resolves to whether the output is still read. */
export type WriteLine = (line: string) => Promise<boolean>

/** Runs `write`, whose lines go through $PAGER (or less) if the output is a terminal and they are not raw. */
export async function paged(
  write: (line: WriteLine) => Promise<void>,
  { isRaw }: Pick<LineFormat, 'isRaw'> = { isRaw: false },
): Promise<void> {
  if (process.stdout.isTTY && !isRaw) await throughPager(write)
  else await into(process.stdout, write, isRaw)
}

async function throughPager(write: (line: WriteLine) => Promise<void>): Promise<void> {
  const { spawn } = await import('node:child_process')
  const command = process.env['PAGER'] || 'less -FRX'
  const pager = spawn('/bin/sh', ['-c', command], { stdio: ['pipe', 'inherit', 'inherit'] })
  const ended = once(pager, 'close')
  // The pager handles Ctrl-C.
  const ignore = (): void => undefined
  process.on('SIGINT', ignore)
  try {
    await into(pager.stdin, write)
    pager.stdin.end()
    await ended
  } finally {
    process.off('SIGINT', ignore)
  }
}

/** Runs `write`, whose lines (ended by NUL if they are raw) go to a stream with back-pressure. A reader that has gone is not an error. */
export async function into(
  output: Writable,
  write: (line: WriteLine) => Promise<void>,
  isRaw = false,
): Promise<void> {
  let isBroken = false
  output.on('error', (error: NodeJS.ErrnoException) => {
    isBroken = true
    if (error.code !== 'EPIPE') throw error
  })
  await write(async line => {
    if (isBroken) return false
    // Waiting also ends on an error, which the listener above handles.
    if (!output.write(isRaw ? Buffer.from(`${line}\0`, 'latin1') : `${line}\n`))
      await drained(output).catch(() => undefined)
    return !isBroken
  })
}
