/** Encodes Python's text: UTF-8 in which a lone surrogate is encoded like any other character ("surrogatepass"). */

const strict = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true })
const SURROGATE = /(\xed[\xa0-\xbf][\x80-\xbf])/
/** Longer texts, in bytes, are not searched for lone surrogates, each of which costs an object. */
const SURROGATES_MAX = 65_536

/** Decodes `[start, end)`; undefined if it is not valid text. */
export function decodeText(bytes: Buffer, start: number, end: number): string | undefined {
  const text = bytes.toString('utf8', start, end)
  // The replacement character may also be in the text itself.
  if (!text.includes('\ufffd')) return text
  const parts =
    end - start > SURROGATES_MAX
      ? [bytes.toString('latin1', start, end)]
      : bytes.toString('latin1', start, end).split(SURROGATE)
  try {
    return parts
      .map(part =>
        part.length === 3 && SURROGATE.test(part)
          ? surrogate(part)
          : strict.decode(Buffer.from(part, 'latin1')),
      )
      .join('')
  } catch {
    return undefined
  }
}

const surrogate = (part: string): string =>
  String.fromCharCode(0xd000 | ((part.charCodeAt(1) & 0x3f) << 6) | (part.charCodeAt(2) & 0x3f))

/** The inverse of {@link decodeText}. */
export function encodeText(text: string): Uint8Array {
  if (text.isWellFormed()) return Buffer.from(text, 'utf8')
  return Buffer.concat(
    Array.from(text, character => {
      const code = character.charCodeAt(0)
      return character.isWellFormed()
        ? Buffer.from(character, 'utf8')
        : Buffer.of(0xed, 0x80 | ((code >> 6) & 0x3f), 0x80 | (code & 0x3f))
    }),
  )
}
