/**
 * Names of the operating system as texts. A name is bytes, mostly UTF-8, but any bytes except NUL and the slash. Node decodes what is not
 * UTF-8 to U+FFFD, which names another file. Here each such byte becomes a lone surrogate, U+DC80 to U+DCFF, as in Python's
 * `surrogateescape`: texts can be cut, joined and compared, and give the same bytes back.
 *
 * Node's own functions encode a lone surrogate as U+FFFD again: pass them {@link pathOf}.
 */

const FIRST_ODD = 0xdc80
const LAST_ODD = 0xdcff
const ODD = /[\udc80-\udcff]/

/** Length of a valid sequence by its first byte; 1 for a byte that begins none. */
const sequenceLength = (first: number): number =>
  first < 0xc2 ? 1 : first < 0xe0 ? 2 : first < 0xf0 ? 3 : first < 0xf5 ? 4 : 1

const decoder = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true })

/** Decodes bytes. */
export function textOf(bytes: Uint8Array): string {
  try {
    return decoder.decode(bytes)
  } catch {
    return oddTextOf(bytes)
  }
}

function oddTextOf(bytes: Uint8Array): string {
  let text = ''
  for (let at = 0; at < bytes.length;) {
    const first = bytes[at] ?? 0
    const sequence = bytes.subarray(at, at + sequenceLength(first))
    try {
      text += decoder.decode(sequence)
      at += sequence.length
    } catch {
      text += String.fromCharCode(FIRST_ODD - 0x80 + first)
      at++
    }
  }
  return text
}

/** Whether a text stands for bytes that are not UTF-8. */
export const isOdd = (text: string): boolean =>
  ODD.test(text) && bytesOf(text).length < Buffer.byteLength(text)

/** The bytes of a text. */
export function bytesOf(text: string): Buffer {
  if (!ODD.test(text)) return Buffer.from(text, 'utf8')
  const parts: Buffer[] = []
  for (const char of text) {
    const code = char.codePointAt(0) ?? 0
    parts.push(
      code >= FIRST_ODD && code <= LAST_ODD ? Buffer.of(code - FIRST_ODD + 0x80) : Buffer.from(char, 'utf8'),
    )
  }
  return Buffer.concat(parts)
}

/** A text with the one form that its bytes are decoded to: what a store gives back for it. */
export const canonicalText = (text: string): string => (text.isWellFormed() ? text : textOf(bytesOf(text)))

/** A path as Node's functions take it, or a text as SQLite does: what SQLite gets as bytes it stores as bytes. */
export const pathOf = (text: string): string | Buffer => (isOdd(text) ? bytesOf(text) : text)
