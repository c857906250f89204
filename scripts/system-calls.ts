/** System calls of the commands that Node has no function for. */
import { koffi } from '../store/koffi.ts'

const libc = koffi.load(null)

const signal = libc.func('void *signal(int number, void *handler)') as (
  number: number,
  handler: unknown,
) => unknown

/** Lets a signal end the process with the signal's number as its exit code: the handler is _exit(2), which is called with that. */
export const exitOn = (number: number): void => void signal(number, libc.symbol('_exit'))

/** Sends SIGALRM to this process after a time. */
export const alarm = libc.func('unsigned int alarm(unsigned int seconds)') as (seconds: number) => number

export const fcntl = libc.func('int fcntl(int fd, int command, int argument)') as (
  fd: number,
  command: number,
  argument: number,
) => number

export const socket = libc.func('int socket(int domain, int type, int protocol)') as (
  domain: number,
  type: number,
  protocol: number,
) => number

export const sendto = libc.func(
  'long sendto(int fd, void *data, size_t length, int flags, void *address, uint32_t address_length)',
) as (
  fd: number,
  data: Buffer,
  length: number,
  flags: number,
  address: Buffer,
  addressLength: number,
) => number
