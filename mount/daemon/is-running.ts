/** Whether a process still runs. A zombie does not. */
import { readFileSync } from 'node:fs'

export function isRunning(pid: number): boolean {
  try {
    // PID (NAME) STATE ...; the name may hold anything, a bracket too. Source: proc_pid_stat(5).
    const stat = readFileSync(`/proc/${pid}/stat`, 'latin1')
    const state = stat.slice(stat.lastIndexOf(')') + 2)[0]
    return state !== 'Z' && state !== 'X'
  } catch {
    return false
  }
}
