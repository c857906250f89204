/** Keeps a daemon from inheriting what the caller of the command has open: a script's `flock 200` would stay locked. */
import { readdirSync } from 'node:fs'
import koffi from 'koffi'

const F_SETFD = 2
const FD_CLOEXEC = 1
const STDERR = 2

/** Marks every open descriptor but standard input, output and error to be closed in programs that are started. */
export function closeOnExec(): void {
  const fcntl = koffi.load(null).func('int fcntl(int fd, int command, int argument)') as (
    fd: number,
    command: number,
    argument: number,
  ) => number
  for (const name of readdirSync('/proc/self/fd'))
    if (Number(name) > STDERR) fcntl(Number(name), F_SETFD, FD_CLOEXEC)
}
