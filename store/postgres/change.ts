/** Changes of the writer besides its commits: steps of packs, and notes. */
import { Pipeline } from './pipeline.ts'
import { ConnectionLostError, sqlStateOf } from './postgres-errors.ts'
import { FENCED } from './schema.ts'
import type { Cells, Session, Value } from './session.ts'
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
  return await retryChange(writer, async session => {
    const pipeline = new Pipeline(session)
    pipeline.send(BEGIN_CHANGE, [writer.epoch], 'begin_change')
    return await pipeline.commit(text, values, name)
  })
}

/** Runs an idempotent change of the writer, again if the connection is lost. No other use of its session may be in progress. */
export async function retryChange<T>(
  writer: WriterSession,
  change: (session: Session) => Promise<T>,
): Promise<T> {
  let { epoch } = writer
  const once = async (): Promise<T> => {
    const session = await writer.hold()
    ;({ epoch } = writer)
    try {
      return await change(session)
    } finally {
      writer.release()
    }
  }
  try {
    return await once()
  } catch (error) {
    if (sqlStateOf(error) === FENCED) throw writer.fence('another writer has opened it', epoch)
    if (!(error instanceof ConnectionLostError)) throw error
    return await once()
  }
}
