/** Prevents a daemon from inheriting open descriptors of the command's caller: a script's `flock 200` would stay locked. */
import { readdirSync } from '../store/os-files.ts'
import { fcntl } from './system-calls.ts'

const F_SETFD = 2
const FD_CLOEXEC = 1
const STDERR = 2

/** Marks every open descriptor except standard input, output and error as close-on-exec. */
export function closeOnExec(): void {
  for (const name of readdirSync('/proc/self/fd'))
    if (Number(name) > STDERR) fcntl(Number(name), F_SETFD, FD_CLOEXEC)
}
