/**
 * Notifies systemd of the state of a service (sd_notify): READY, STOPPING, and a sign of life for its watchdog.
 *
 * The messages go as datagrams to the Unix socket in NOTIFY_SOCKET, which Node cannot send: the calls are those of libc. Source of the protocol:
 * sd_notify(3).
 */
import { Buffer } from 'node:buffer'
import { sendto, socket } from './system-calls.ts'

const AF_UNIX = 1
const SOCK_DGRAM_CLOEXEC = 2 | 0o2000000
const PATH_AT = 2
const PATH_MAX_BYTES = 108
/** A sign of life is sent this often within the time that the watchdog waits. */
const SIGNS_PER_TIMEOUT = 3
const US_PER_MS = 1000

export interface ServiceManager {
  /** The service does its work. Signs of life begin. */
  ready(status: string): void
  /** The service ends, which may take as long as the disk needs. Signs of life continue. */
  stopping(): void
}

const NONE: ServiceManager = { ready: () => undefined, stopping: () => undefined }

/** The service manager that started this process; one that does nothing if there is none. */
export function serviceManager(environment = process.env): ServiceManager {
  const { NOTIFY_SOCKET: path, WATCHDOG_USEC, WATCHDOG_PID } = environment
  // A child process is not the service.
  delete environment['NOTIFY_SOCKET']
  if (path === undefined || !/^[/@]./.test(path) || Buffer.byteLength(path) >= PATH_MAX_BYTES) return NONE
  const fd = socket(AF_UNIX, SOCK_DGRAM_CLOEXEC, 0)
  if (fd < 0) return NONE
  const address = addressOf(path)
  const send = (text: string): void => {
    const data = Buffer.from(text)
    // A message that cannot be sent is lost; systemd ends a service that is not ready in time.
    sendto(fd, data, data.length, 0, address, address.length)
  }
  const isOurs = WATCHDOG_PID === undefined || Number(WATCHDOG_PID) === process.pid
  const watchdogMs = isOurs && Number(WATCHDOG_USEC) > 0 ? Number(WATCHDOG_USEC) / US_PER_MS : undefined
  return {
    ready: status => {
      send(`READY=1\nSTATUS=${status.replaceAll('\n', ' ')}`)
      // From the event loop: a daemon that hangs sends none.
      if (watchdogMs !== undefined)
        setInterval(() => send('WATCHDOG=1'), watchdogMs / SIGNS_PER_TIMEOUT).unref()
    },
    stopping: () => send('STOPPING=1\nSTATUS=storing what is left'),
  }
}

/** A struct sockaddr_un; `@` begins a name in the abstract namespace. */
function addressOf(path: string): Buffer {
  const isAbstract = path.startsWith('@')
  const bytes = Buffer.from(path)
  const address = Buffer.alloc(PATH_AT + bytes.length + (isAbstract ? 0 : 1))
  address.writeUInt16LE(AF_UNIX, 0)
  bytes.copy(address, PATH_AT)
  if (isAbstract) address[PATH_AT] = 0
  return address
}
