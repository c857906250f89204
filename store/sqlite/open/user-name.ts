import { readFileSync } from 'node:fs'

/** A user as messages name it: by its name where /etc/passwd has one, and by its number. */
export function userName(uid: number): string {
  let name: string | undefined
  try {
    const accounts = readFileSync('/etc/passwd', 'utf8').split('\n')
    name = accounts
      .map(line => line.split(':'))
      .find(fields => Number(fields[2]) === uid && fields.length > 2)?.[0]
  } catch {
    // The number alone says it.
  }
  return name === undefined ? `user ${uid}` : `user ${name}`
}
