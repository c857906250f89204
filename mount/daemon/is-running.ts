/** Whether a process is running. A zombie is not. */
import { readFileSync } from '../../store/os-files.ts'

export function isRunning(pid: number): boolean {
  try {
    // PID (NAME) STATE ...; the name may contain anything, including brackets. Source: proc_pid_stat(5).
    const stat = readFileSync(`/proc/${pid}/stat`, 'latin1')
    const state = stat.slice(stat.lastIndexOf(')') + 2)[0]
    return state !== 'Z' && state !== 'X'
  } catch {
    return false
  }
}
