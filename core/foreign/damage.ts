/** Errors of an external ZODB database name it, so that the advice is right: zblkfs's own fsck does not check it. */
import { CorruptRecordError, ObjectNotFoundError } from '../../store/errors.ts'

/** Runs `read`; its errors about objects name the external database. */
export async function readingForeign<T>(
  { name }: { readonly name: string },
  read: () => T | Promise<T>,
): Promise<T> {
  try {
    return await read()
  } catch (error) {
    throw toldAs(name, error)
  }
}

/** The same for a sequence that is read piece by piece. Errors of its consumer are unchanged. */
export async function* eachOfForeign<T>(
  { name }: { readonly name: string },
  pieces: AsyncIterable<T>,
): AsyncGenerator<T> {
  try {
    yield* pieces
  } catch (error) {
    throw toldAs(name, error)
  }
}

function toldAs(name: string, error: unknown): unknown {
  if (error instanceof CorruptRecordError)
    return new CorruptRecordError(error.oid, error.tid, error.reason, { foreign: name, cause: error })
  if (error instanceof ObjectNotFoundError)
    return new ObjectNotFoundError(error.oid, error.at, { foreign: name, cause: error })
  return error
}
