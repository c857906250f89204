/**
 * Decides whether an interrupted request is answered early.
 *
 * The kernel sends INTERRUPT for any signal to a waiting caller, a terminal's resize or a timer included. Programs do
 * not expect EINTR from a file, so the operation continues, unless its caller has been killed: then the result is
 * not needed, and answering EINTR lets the process end at once instead of after a slow commit.
 */
import { readFileSync } from '../../../store/os-files.ts'
import { Opcode } from './abi/opcodes.ts'

/** SIGKILL's bit in the masks of /proc/PID/status. */
const SIGKILL_BIT = 1n << 8n

const HARMLESS: ReadonlySet<number> = new Set([Opcode.READ, Opcode.FSYNC, Opcode.FSYNCDIR])

/** Whether a request may be answered EINTR while its operation continues: its effect must not matter to the kernel. */
export const canGiveUp = (opcode: number): boolean => HARMLESS.has(opcode)

/** Whether a thread has been killed and has not ended yet. */
export function isDying(tid: number): boolean {
  try {
    const pending = /^SigPnd:\s*([0-9a-f]+)/m.exec(readFileSync(`/proc/${tid}/status`, 'latin1'))?.[1]
    return pending !== undefined && (BigInt(`0x${pending}`) & SIGKILL_BIT) !== 0n
  } catch {
    return true // It has ended.
  }
}
