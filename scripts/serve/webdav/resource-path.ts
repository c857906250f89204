/** URL paths and paths of files: a segment of a URL is percent-encoded bytes, so that every name has a URL. */
const SLASH = 0x2f
const UNESCAPED = /^[A-Za-z0-9\-._~!$'()*+,;=:@]$/

/** The names that a URL's path leads through, as bytes; undefined if it is not a path of ours. */
export function segmentsOf(urlPath: string): readonly Buffer[] | undefined {
  const segments: Buffer[] = []
  for (const text of urlPath.split('/')) {
    if (text === '' || text === '.') continue
    const bytes = decoded(text)
    if (bytes === undefined || bytes.includes(SLASH) || bytes.includes(0) || bytes.toString() === '..')
      return undefined
    segments.push(bytes)
  }
  return segments
}

function decoded(text: string): Buffer | undefined {
  const bytes: number[] = []
  for (let i = 0; i < text.length; i++) {
    const code = text.charCodeAt(i)
    if (code > 0x7f) return undefined
    if (text[i] !== '%') {
      bytes.push(code)
      continue
    }
    const digits = text.slice(i + 1, i + 3)
    if (!/^[0-9A-Fa-f]{2}$/.test(digits)) return undefined
    bytes.push(Number.parseInt(digits, 16))
    i += 2
  }
  return Buffer.from(bytes)
}

/** The absolute path of a file for the SDK. */
export const pathOf = (segments: readonly Buffer[]): Buffer =>
  Buffer.concat(
    segments.length === 0 ? [Buffer.from('/')] : segments.flatMap(name => [Buffer.from('/'), name]),
  )

/** The URL's path; a directory's ends in a slash. */
export function hrefOf(segments: readonly Buffer[], isDirectory: boolean): string {
  const path = segments.map(name => `/${[...name].map(escapedByte).join('')}`).join('')
  return isDirectory ? `${path}/` : path
}

function escapedByte(byte: number): string {
  const character = String.fromCharCode(byte)
  return UNESCAPED.test(character) ? character : `%${byte.toString(16).toUpperCase().padStart(2, '0')}`
}
