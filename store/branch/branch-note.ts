/** What a branch records about itself, as a note of its index. */
import { parseTid, formatTid, type Tid } from '../ids.ts'

/** The name of the note. */
export const BRANCH = 'branch'

export interface BranchNote {
  /** The moment of the database at which the branch begins. */
  readonly base: Tid
  /** New objects of the branch have oids from this one on: no object of the base has such an oid. */
  readonly firstOid: number
  /** The id of the database. */
  readonly databaseId: string
}

export const formatBranchNote = ({ base, firstOid, databaseId }: BranchNote): string =>
  `${formatTid(base)} ${firstOid} ${databaseId}`

export function parseBranchNote(text: string): BranchNote | undefined {
  const [baseText = '', oidText = '', databaseId = ''] = text.split(' ')
  const base = parseTid(baseText)
  const firstOid = Number(oidText)
  return base === undefined || !Number.isSafeInteger(firstOid) ? undefined : { base, firstOid, databaseId }
}
