/** `zblkfs cat DB PATH`: a file's content, now or at a moment, without a mount. */
import { printablePath } from '../../core/printable.ts'
import { isRegular } from '../../core/tree/inode.ts'
import type { Command } from 'commander'
import { FileContent } from '../../core/history/file-content.ts'
import { MomentView } from '../../core/history/moment-view.ts'
import { formatTid, type Tid } from '../../store/ids.ts'
import type { Store } from '../../store/store.ts'
import { drained } from '../drained.ts'
import { CommandError } from '../failure.ts'
import { fileBytes } from '../foreign/listing.ts'
import { atMoment } from './at-moment.ts'

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
  if (!isRegular(inode)) throw new CommandError(`${printablePath(path)} is not a regular file`)
  yield* (await FileContent.of(view, inode)).pieces()
}

async function write(pieces: AsyncIterable<Uint8Array>): Promise<void> {
  // The reader of a pipe may close it before the end.
  process.stdout.on('error', () => process.exit(0))
  for await (const piece of pieces) if (!process.stdout.write(piece)) await drained(process.stdout)
}
