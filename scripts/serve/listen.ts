/** Where a server listens: a Unix socket that only its owner may use, or an address of this machine. */
import { chmod, lstat, rm } from '../../store/os-files-async.ts'
import { connect, type Server } from 'node:net'
import { systemCode } from '../../store/errors.ts'
import { CommandError } from '../failure.ts'

export type ListenPlace =
  | { readonly kind: 'socket'; readonly path: string }
  | { readonly kind: 'address'; readonly host: string; readonly port: number }

/** Starts to listen. A socket that a dead server left is removed. @throws CommandError if that is not possible. */
export async function listenAt(server: Server, place: ListenPlace): Promise<void> {
  if (place.kind === 'socket') await removeDead(place.path)
  // A socket must not be open to other users between its creation and a chmod.
  const umask = place.kind === 'socket' ? process.umask(0o177) : undefined
  try {
    await new Promise<void>((resolve, reject) => {
      server.once('error', error => reject(cannotListen(error, place)))
      if (place.kind === 'socket') server.listen(place.path, resolve)
      else server.listen(place.port, place.host, resolve)
    })
  } finally {
    if (umask !== undefined) process.umask(umask)
  }
  if (place.kind === 'socket') await chmod(place.path, 0o600)
}

export const placeText = (place: ListenPlace): string =>
  place.kind === 'socket' ? place.path : `${place.host}:${place.port}`

async function removeDead(path: string): Promise<void> {
  const found = await lstat(path).catch(() => undefined)
  if (found?.isSocket() !== true || (await isAnswered(path))) return
  await rm(path, { force: true })
}

function isAnswered(path: string): Promise<boolean> {
  return new Promise(resolve => {
    const socket = connect(path, () => {
      socket.destroy()
      resolve(true)
    })
    socket.once('error', () => resolve(false))
  })
}

function cannotListen(error: Error, place: ListenPlace): CommandError {
  const isUsed = systemCode(error) === 'EADDRINUSE'
  const reason = isUsed ? 'it is used already' : error.message
  return new CommandError(
    `${placeText(place)} cannot be listened at: ${reason}; choose another with --listen`,
    {
      cause: error,
    },
  )
}
