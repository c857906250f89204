/** Changes of the writer besides its commits: steps of packs, and notes. */
import { Pipeline } from './pipeline.ts'
import { ConnectionLostError, sqlStateOf } from './postgres-errors.ts'
import { FENCED } from './schema.ts'
import type { Cells, Value } from './session.ts'
import type { WriterSession } from './writer-session.ts'

/** Waits for other commits; fails if the writer is fenced. */
export const BEGIN_CHANGE = 'SELECT zblkfs.begin_change($1)'

/** Runs one statement as a change of the writer: after other commits, and only while it is not fenced. */
export async function runChange(
  writer: WriterSession,
  text: string,
  values: readonly Value[],
  name: string,
): Promise<readonly Cells[]> {
  const once = async (): Promise<readonly Cells[]> => {
    const pipeline = new Pipeline(await writer.hold())
    try {
      pipeline.send(BEGIN_CHANGE, [writer.epoch], 'begin_change')
      return await pipeline.commit(text, values, name)
    } finally {
      writer.release()
    }
  }
  try {
    return await once()
  } catch (error) {
    if (sqlStateOf(error) === FENCED) throw writer.fence('another writer has opened it')
    if (!(error instanceof ConnectionLostError)) throw error
    // The statement is idempotent.
    return await once()
  }
}
