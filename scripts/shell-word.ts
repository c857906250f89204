/** A word as it is typed in a shell. */
import { bytesOf, isOdd } from '../store/os-text.ts'

/** Quoted if it has other characters than letters, digits and `_@%+=:,./~-`; bytes that are not UTF-8 as bash and zsh read them. */
export function shellWord(word: string): string {
  if (isOdd(word))
    return `$'${bytesOf(word)
      .toString('latin1')
      .replaceAll(/[^\w@%+=:,./~ -]/g, escape)}'`
  return /^[\w@%+=:,./~-]+$/.test(word) ? word : `'${word.replaceAll("'", String.raw`'\''`)}'`
}

const escape = (char: string): string => `\\x${char.charCodeAt(0).toString(16).padStart(2, '0')}`
