/**
 * Escapes names and messages for a terminal. Names of files and messages of transactions are untrusted: a control
 * character in them could move the cursor or forge a line. Every text for people is escaped here; JSON output has the
 * original text.
 */
import { bytesOf, isOdd } from '../store/os-text.ts'
import { textOfStored } from './stored-names.ts'

/** Control characters (C0, DEL, C1), line separators, changes of the writing direction, and bytes that are not UTF-8. */
const UNSAFE = /[\p{Cc}\u2028\u2029\u200e\u200f\u202a-\u202e\u2066-\u2069\ufffd\udc80-\udcff]/gu
const SHORT: Readonly<Record<string, string>> = { '\n': '\\n', '\r': '\\r', '\t': '\\t' }

/** A text in one line, with what is unsafe on a terminal as `\n`, `\x1b` or `\u202e`. */
export const printable = (text: string): string => text.replaceAll(UNSAFE, escape)

/** The same for a trusted text of several lines. */
export const printableLines = (text: string): string => text.split('\n').map(printable).join('\n')

/** A stored name or path, which has one character per byte. */
export const printablePath = (stored: string): string => printable(decodedPath(stored))

/** A stored name or path as text, for programs. */
export const decodedPath = (stored: string): string => textOfStored(stored) || '/'

function escape(char: string): string {
  const [code = 0] = isOdd(char) ? bytesOf(char) : [char.codePointAt(0)]
  const hex = code.toString(16)
  return SHORT[char] ?? (code < 0x100 ? `\\x${hex.padStart(2, '0')}` : `\\u${hex.padStart(4, '0')}`)
}
