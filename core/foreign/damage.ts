/** Damage in a foreign database, told with what helps such a database: zblkfs's own fsck does not. */
import { CorruptRecordError, ObjectNotFoundError } from '../../store/errors.ts'

/** Reads; what is damaged in that database is told as damage of that. */
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

/** The same for what is read piece by piece. What the user of the pieces throws stays as it is. */
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
