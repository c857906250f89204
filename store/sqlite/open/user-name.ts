import { readFileSync } from '../../os-files.ts'

/** A user for messages: by name if /etc/passwd has one, else by number. */
export function userName(uid: number): string {
  let name: string | undefined
  try {
    const accounts = readFileSync('/etc/passwd', 'utf8').split('\n')
    name = accounts
      .map(line => line.split(':'))
      .find(fields => Number(fields[2]) === uid && fields.length > 2)?.[0]
  } catch {
    // Use the number.
  }
  return name === undefined ? `user ${uid}` : `user ${name}`
}
