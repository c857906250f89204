/** The file that the writers replace as a whole: a value, and bytes that follow from it, so that a mixture of two states is found. */
import { readFile } from 'node:fs/promises'

/** A file has wrong bytes, which no fault excuses. */
export class MixedError extends Error {
  override readonly name = 'MixedError'
}

/** @param length at least that of the value and its length in decimal. */
export function registerBytes(value: string, length: number): Buffer {
  const bytes = Buffer.alloc(length, `${value} zblkfs `)
  bytes.write(`${value} ${length}\n`, 0)
  return bytes
}

/** The value of a register; '' if there is none yet. @throws MixedError */
export async function registerIn(path: string): Promise<string> {
  let found: Buffer
  try {
    found = await readFile(path)
  } catch (error) {
    if (error instanceof Error && 'code' in error && error.code === 'ENOENT') return ''
    throw error
  }
  const [value = '', length = ''] = found.toString('latin1', 0, found.indexOf('\n')).split(' ')
  if (
    !/^\d+$/.test(length) ||
    Number(length) !== found.length ||
    !found.equals(registerBytes(value, found.length))
  )
    throw new MixedError(`${path} has ${found.length} bytes that were never written together`)
  return value
}
