/** A word as it is typed in a shell: quoted if it has other characters than letters, digits and `_@%+=:,./~-`. */
export const shellWord = (word: string): string =>
  /^[\w@%+=:,./~-]+$/.test(word) ? word : `'${word.replaceAll("'", String.raw`'\''`)}'`
