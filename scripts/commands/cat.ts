/** `zblkfs cat DB PATH`: a file's content, now or at a moment, without a mount. */
import { printablePath } from '../../core/printable.ts'
import { once } from 'node:events'
import { constants } from 'node:fs'
import type { Command } from 'commander'
import { BigFile } from '../../core/big-file/big-file.ts'
import { ZBigFile } from '../../core/zblk/zbigfile.ts'
import { MomentView } from '../../core/history/moment-view.ts'
import { formatTid, type Tid } from '../../store/ids.ts'
import type { Store } from '../../store/store.ts'
import { CommandError } from '../failure.ts'
import { fileBytes } from '../foreign/listing.ts'
import { atMoment } from './at-moment.ts'

const { S_IFMT, S_IFREG } = constants
const PIECE_BYTES = 2 << 20

export const catCommand = (): Command =>
  atMoment('cat', "Write a file's content at a moment to standard output, without a mount.", show)

async function show(store: Store, tid: Tid, path: string): Promise<void> {
  await write(
    store.isForeign ? fileBytes(store, tid, path) : bytesOf(await MomentView.open(store, tid), path),
  )
}

async function* bytesOf(view: MomentView, path: string): AsyncGenerator<Uint8Array> {
  const inode = await view.find(path)
  if (inode === undefined)
    throw new CommandError(`there is no ${printablePath(path)} at ${formatTid(view.at)}`)
  if ((inode.mode & S_IFMT) !== S_IFREG)
    throw new CommandError(`${printablePath(path)} is not a regular file`)
  const { size, data } = inode
  const object = data === undefined ? undefined : view.connection.resolve(data)
  if (object !== undefined && !(object instanceof ZBigFile))
    throw object.corrupt(`a file's data is a ${object.className}`)
  const file = object && (await BigFile.open(view.connection, object))
  for (let off = 0n; off < size; off += BigInt(PIECE_BYTES)) {
    const len = Number(size - off < BigInt(PIECE_BYTES) ? size - off : BigInt(PIECE_BYTES))
    yield* (await file?.read(off, len)) ?? [new Uint8Array(len)]
  }
}

async function write(pieces: AsyncIterable<Uint8Array>): Promise<void> {
  // The reader of a pipe may close it before the end.
  process.stdout.on('error', () => process.exit(0))
  for await (const piece of pieces)
    if (!process.stdout.write(piece))
      await Promise.race([once(process.stdout, 'drain'), once(process.stdout, 'close')])
}
