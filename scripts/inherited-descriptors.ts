/** Prevents a daemon from inheriting open descriptors of the command's caller: a script's `flock 200` would stay locked. */
import { koffi } from '../store/koffi.ts'
import { readdirSync } from '../store/os-files.ts'

const F_SETFD = 2
const FD_CLOEXEC = 1
const STDERR = 2

/** Marks every open descriptor except standard input, output and error as close-on-exec. */
export function closeOnExec(): void {
  const fcntl = koffi.load(null).func('int fcntl(int fd, int command, int argument)') as (
    fd: number,
    command: number,
    argument: number,
  ) => number
  for (const name of readdirSync('/proc/self/fd'))
    if (Number(name) > STDERR) fcntl(Number(name), F_SETFD, FD_CLOEXEC)
}
