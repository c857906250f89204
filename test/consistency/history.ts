/**
 * Checks what mounts of one database have shown, against what was written. A **write** replaces a file, atomically; writes are
 * numbered in their order. A view gives for each file the number of the write that it shows.
 *
 * | promise                                                                   | broken by                              |
 * |---------------------------------------------------------------------------|----------------------------------------|
 * | every view is a prefix of the writes                                      | a view with a later write but without an earlier one |
 * | what was synced is kept                                                   | a crash after which it is missing      |
 * | what a crash has lost is never shown, before or after                     | a view with such a write               |
 * | a mount moves forward only                                                | an older view after a newer one        |
 * | a moment is the same on every mount                                       | two views of one tid that differ       |
 * | later moments have later prefixes                                         | a tid whose prefix ends before that of an earlier tid |
 * | in the end every mount shows everything                                   | a last view that is older              |
 */

/** The number of the write that each file shows; 0: the file does not exist. */
export type FileStates = readonly number[]

export type HistoryEvent =
  /** A write to a file has begun. */
  | { readonly kind: 'write'; readonly file: number }
  /** All writes up to this number are durable. */
  | { readonly kind: 'synced'; readonly write: number }
  /** The writer was killed, and mounted again: its state then. */
  | { readonly kind: 'crash'; readonly files: FileStates }
  | { readonly kind: 'view'; readonly mount: string; readonly tid: string; readonly files: FileStates }
  /** The last view of a mount, after all writes. */
  | { readonly kind: 'end'; readonly mount: string; readonly files: FileStates }

/** The broken promises, as sentences; empty if there are none. */
export function checkHistory(events: readonly HistoryEvent[]): readonly string[] {
  const problems: string[] = []
  const writes = writesThatStay(events, problems)
  const ofMounts = new Map<string, { tid: string; prefix: number }>()
  const ofTids = new Map<string, { files: FileStates; prefix: number }>()
  for (const event of events) {
    if (event.kind === 'end' && writes.prefixOf(event.files) !== writes.last)
      problems.push(
        `in the end ${event.mount} shows ${event.files.join(' ')}, not all writes up to ${writes.last}`,
      )
    if (event.kind !== 'view') continue
    const { mount, tid, files } = event
    const prefix = writes.prefixOf(files)
    if (prefix === undefined) {
      problems.push(`${mount} at ${tid} shows ${files.join(' ')}, which is not a prefix of the writes`)
      continue
    }
    const last = ofMounts.get(mount)
    if (last !== undefined && (tid < last.tid || prefix < last.prefix))
      problems.push(`${mount} went back from ${last.tid} (write ${last.prefix}) to ${tid} (write ${prefix})`)
    ofMounts.set(mount, { tid, prefix })
    const same = ofTids.get(tid)
    if (same !== undefined && same.files.join() !== files.join())
      problems.push(`${tid} is ${files.join(' ')} on ${mount}, and ${same.files.join(' ')} elsewhere`)
    ofTids.set(tid, { files, prefix })
  }
  let before = 0
  for (const [tid, { prefix }] of [...ofTids].toSorted(([a], [b]) => (a < b ? -1 : 1))) {
    if (prefix < before)
      problems.push(`${tid} ends with write ${prefix}, but an earlier moment with ${before}`)
    before = Math.max(before, prefix)
  }
  return problems
}

/** The writes that no crash has lost. */
class Writes {
  /** The file of each write by its number; undefined: lost. */
  readonly #files: readonly (number | undefined)[]

  constructor(files: readonly (number | undefined)[]) {
    this.#files = files
  }

  get last(): number {
    return this.#files.findLastIndex(file => file !== undefined)
  }

  /** The last write of the prefix that has these states; undefined if none has. */
  prefixOf(files: FileStates): number | undefined {
    const prefix = Math.max(0, ...files)
    if (prefix >= this.#files.length) return undefined
    const states = files.map(() => 0)
    for (let number = 1; number <= prefix; number++) {
      const file = this.#files[number]
      if (file !== undefined) states[file] = number
    }
    return states.join() === files.join() ? prefix : undefined
  }
}

/** Reports crashes that have lost synced writes, or left no prefix. */
function writesThatStay(events: readonly HistoryEvent[], problems: string[]): Writes {
  const files: (number | undefined)[] = [undefined]
  let synced = 0
  for (const event of events) {
    if (event.kind === 'write') files.push(event.file)
    if (event.kind === 'synced') synced = Math.max(synced, event.write)
    if (event.kind !== 'crash') continue
    const kept = new Writes(files).prefixOf(event.files)
    if (kept === undefined)
      problems.push(`a crash left ${event.files.join(' ')}, which is not a prefix of the writes`)
    else if (kept < synced)
      problems.push(`a crash has kept the writes up to ${kept}, but ${synced} was synced`)
    for (let number = (kept ?? files.length) + 1; number < files.length; number++) files[number] = undefined
  }
  return new Writes(files)
}
