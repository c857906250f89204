/** The name of a process's program. */
import { readFileSync, readlinkSync } from '../store/os-files.ts'
import { basename } from 'node:path'

/** The name that Node.js gives to its main thread. */
const NODE_THREAD = 'MainThread'

/**
 * As the kernel shows it (proc_pid_comm(5)), up to 15 bytes; empty if it is unknown. It is never the command line: the kernel
 * reads that from the memory of the process, which may wait for this filesystem.
 */
export function programOf(pid: number): string {
  if (pid === 0) return ''
  try {
    const program = readFileSync(`/proc/${pid}/comm`, 'utf8').trimEnd()
    return program === NODE_THREAD ? basename(readlinkSync(`/proc/${pid}/exe`)) : program
  } catch {
    return ''
  }
}
