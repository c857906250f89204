import { isDamageError } from '../../store/errors.ts'

/** The result of `read`; undefined if the data is damaged or missing. */
export async function ifReadable<T>(read: () => Promise<T>): Promise<T | undefined> {
  try {
    return await read()
  } catch (error) {
    if (isDamageError(error)) return undefined
    throw error
  }
}
