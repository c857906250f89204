/**
 * Whether an interrupted request may be given up.
 *
 * The kernel sends INTERRUPT for any signal to a waiting caller, a terminal's resize or a timer included. Programs do
 * not expect EINTR of a file, so an operation goes on, unless its caller has been killed: then nobody will look
 * at the result, and the answer lets the process go at once instead of when a slow commit has ended.
 */
import { readFileSync } from 'node:fs'
import { Opcode } from './abi/opcodes.ts'

/** SIGKILL's bit in the masks of /proc/PID/status. */
const SIGKILL_BIT = 1n << 8n

const HARMLESS: ReadonlySet<number> = new Set([Opcode.READ, Opcode.FSYNC, Opcode.FSYNCDIR])

/** Whether the kernel loses track of nothing when a request is answered EINTR and its operation goes on. */
export const canGiveUp = (opcode: number): boolean => HARMLESS.has(opcode)

/** Whether a thread has been killed and only waits to end. */
export function isDying(tid: number): boolean {
  try {
    const pending = /^SigPnd:\s*([0-9a-f]+)/m.exec(readFileSync(`/proc/${tid}/status`, 'latin1'))?.[1]
    return pending !== undefined && (BigInt(`0x${pending}`) & SIGKILL_BIT) !== 0n
  } catch {
    return true // It has no entry any more.
  }
}
