/**
 * Patterns of paths.
 *
 * | written      | matches                                                  |
 * |--------------|----------------------------------------------------------|
 * | `*`, `?`     | any characters, any character, but for `/`                |
 * | `**`         | any characters; between slashes, any number of names      |
 * | `[a-z]`      | one of these characters; `[!a-z]` any other, but for `/`  |
 * | `{a,b}`      | either                                                   |
 * | `\c`         | that character                                           |
 *
 * A pattern without a slash matches the last name of a path. What a pattern matches as a directory, it matches with everything
 * below.
 */

const SPECIAL = /[*?[{]/

/** Whether a text is a pattern that matches more than itself. */
export const isGlob = (text: string): boolean => SPECIAL.test(text)

/** Whether a path, relative to the root, matches a pattern. Both have one character per byte. */
export function globMatcher(pattern: string): (path: string) => boolean {
  const trimmed = pattern.replace(/^\/+|\/+$/g, '')
  const anywhere = trimmed.includes('/') || pattern.startsWith('/') ? '' : '(?:.*/)?'
  const expression = new RegExp(`^${anywhere}${translate(trimmed)}(?:/.*)?$`, 's')
  return path => expression.test(path)
}

function translate(pattern: string): string {
  let translated = ''
  let depth = 0
  for (let at = 0; at < pattern.length; at++) {
    const rest = pattern.slice(at)
    const braced = /^\[(!?)((?:\\.|[^\]\\])+)\]/s.exec(rest)
    if (rest.startsWith('**/')) {
      translated += '(?:.*/)?'
      at += 2
    } else if (rest.startsWith('**')) {
      translated += '.*'
      at++
    } else if (rest.startsWith('*')) translated += '[^/]*'
    else if (rest.startsWith('?')) translated += '[^/]'
    else if (rest.startsWith('\\') && rest.length > 1) translated += escaped(pattern.charAt(++at))
    else if (braced !== null) {
      translated += `(?!/)[${braced[1] === '!' ? '^' : ''}${setOf(braced[2] ?? '')}]`
      at += braced[0].length - 1
    } else if (rest.startsWith('{') && rest.includes('}')) {
      translated += '(?:'
      depth++
    } else if (rest.startsWith('}') && depth > 0) {
      translated += ')'
      depth--
    } else if (rest.startsWith(',') && depth > 0) translated += '|'
    else translated += escaped(rest.charAt(0))
  }
  return translated + ')'.repeat(depth)
}

const escaped = (char: string): string => char.replace(/[\\^$.*+?()[\]{}|/]/, '\\$&')

/** The characters of a set, as a set of a regular expression; a `-` means a range. */
const setOf = (chars: string): string => chars.replaceAll(/[\\^[\]]/g, '\\$&')
