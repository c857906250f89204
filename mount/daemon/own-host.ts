/**
 * Whether an HTTP request names a server by an address of its own. A page of another site can have a browser send requests to
 * this machine under a host name that it lets point here (DNS rebinding); such requests name that host.
 */

const LOOPBACK: readonly string[] = ['localhost', '127.0.0.1', '::1']

/** @param header the header Host. @param host the address that the server listens at. */
export function isOwnHost(header: string | undefined, host: string): boolean {
  const named = (header ?? '')
    .replace(/:\d+$/, '')
    .replace(/^\[(.*)\]$/, '$1')
    .toLowerCase()
  return LOOPBACK.includes(named) || named === host.toLowerCase()
}

/** Whether only this machine reaches an address. */
export const isLoopback = (host: string): boolean =>
  LOOPBACK.includes(host) || /^127\.\d+\.\d+\.\d+$/.test(host)
