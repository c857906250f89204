/** The limit of open files, and what needs how many. */
import { readFileSync } from '../store/os-files.ts'

/** What the daemon of a mount has open at most while it is in use: the database, 32 segments of its log, its threads' and its callers' descriptors. */
export const MOUNT_FILES_MIN = 128

/** The limit of this process, as the kernel writes it, and as a number. */
export function openFilesLimit(): { readonly text: string; readonly limit: number } {
  const limits = readFileSync('/proc/self/limits', 'latin1')
  const text = /^Max open files\s+(\S+)/m.exec(limits)?.[1] ?? 'unknown'
  return { text, limit: text === 'unlimited' ? Infinity : Number(text) }
}
