import { CorruptRecordError, ObjectNotFoundError } from '../../store/errors.ts'

/** The result of `read`; undefined if the data is damaged or missing. */
export async function ifReadable<T>(read: () => Promise<T>): Promise<T | undefined> {
  try {
    return await read()
  } catch (error) {
    if (error instanceof CorruptRecordError || error instanceof ObjectNotFoundError) return undefined
    throw error
  }
}
