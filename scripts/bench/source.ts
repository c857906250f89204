import { randomFillSync } from 'node:crypto'
import { open } from 'node:fs/promises'
import { MIB } from './measure.ts'
import { interrupted } from './programs.ts'

/** Writes and syncs a file of `mib` random MiB. */
export async function makeSource(path: string, mib: number): Promise<void> {
  await using file = await open(path, 'w')
  const piece = Buffer.allocUnsafe(MIB)
  for (let i = 0; i < mib; i++) {
    interrupted.throwIfAborted()
    await file.write(randomFillSync(piece))
  }
  await file.sync()
}
