/** The rows of `meta` that describe a file, and not what the database contains: a raw stream has none of them. */
import { MARK } from '../../indexed/pack/mark-memory.ts'
import { PACKED } from '../../indexed/pack/packed-note.ts'
import { SAMPLE } from '../../indexed/database-clock.ts'
import { SYNCED } from '../pack/sqlite-index-packer.ts'
import { PARTS } from '../parts.ts'
import { INODE, PATH } from '../open/writing-mark.ts'

const LOCAL = new Set([MARK, PACKED, SAMPLE, SYNCED, PARTS, INODE, PATH])

export const isLocalNote = (name: string): boolean => LOCAL.has(name)
