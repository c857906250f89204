/**
 * Checks what several writing mounts of one database have seen of shared files, against what they did. Times are of one clock; an
 * operation took effect at one moment between its start and its end, if the history is linearisable.
 *
 * | object                          | promise                                                             | broken by                     |
 * |---------------------------------|---------------------------------------------------------------------|-------------------------------|
 * | a log (O_APPEND, read)          | each read has every line that was appended before it                | a missing line                |
 * |                                 | ... and none that is appended after it                              | a line from the future        |
 * |                                 | one order of all lines: earlier reads are prefixes of later ones    | two orders, a torn line       |
 * | a register (rename over, read)  | a read shows the last write, or one that overlaps it                | an old value, a flicker       |
 * | a name (O_EXCL)                 | one maker                                                           | two                           |
 * | a directory (mkdir, readdir)    | as a log, without an order                                          | a missing name                |
 * | all                             | what was synced is kept; what is lost was seen on its own mount only | a synced line that is missing |
 *
 * An operation that failed, or whose mount was killed or fenced before it was stored, may or may not have taken effect. One that has left no
 * trace in the end is **lost**.
 */
export interface Span {
  readonly start: number
  /** Infinity: it failed, and may take effect later. */
  readonly end: number
  readonly mount: number
}

/** An append of a line, a making of a name, or a write of a value: `value` is unique. */
export interface Change extends Span {
  readonly kind: 'append' | 'mkdir' | 'set'
  readonly value: string
  /** Whether an fsync afterwards has succeeded. */
  isSynced: boolean
  /** Whether its mount was killed or fenced while it was perhaps not stored. */
  isUnsure: boolean
}

/** A read of the whole log or directory, or of the register ('' before the first write). */
export interface Read extends Span {
  readonly kind: 'read log' | 'readdir' | 'get'
  readonly values: readonly string[]
}

export interface Exclusive extends Span {
  readonly kind: 'exclusive'
  readonly name: string
  isUnsure: boolean
}

export type Event = Change | Read | Exclusive

/** What every mount shows in the end. */
export interface Final {
  readonly log: readonly string[]
  readonly directory: readonly string[]
  readonly register: string
}

/** The broken promises, as sentences; empty if there are none. */
export function checkLinearisable(events: readonly Event[], final: Final): readonly string[] {
  return [
    ...checkSet(events, 'append', 'read log', final.log),
    ...checkOrder(events, final.log),
    ...checkSet(events, 'mkdir', 'readdir', final.directory),
    ...checkRegister(events, final.register),
    ...checkExclusive(events),
  ]
}

const changesOf = (events: readonly Event[], kind: Change['kind']): readonly Change[] =>
  events.filter((event): event is Change => event.kind === kind)

const readsOf = (events: readonly Event[], kind: Read['kind']): readonly Read[] =>
  events.filter((event): event is Read => event.kind === kind)

/** Values that only grow in number. */
function checkSet(
  events: readonly Event[],
  kind: 'append' | 'mkdir',
  reading: 'read log' | 'readdir',
  final: readonly string[],
): readonly string[] {
  const problems: string[] = []
  const changes = new Map(changesOf(events, kind).map(change => [change.value, change]))
  const last = new Set(final)
  if (last.size !== final.length) problems.push(`${reading}: in the end something is there twice`)
  const lost = new Set<string>()
  for (const change of changes.values()) {
    if (last.has(change.value)) continue
    lost.add(change.value)
    if (change.isSynced) problems.push(`${kind}: ${change.value} was synced, and is lost`)
    else if (change.end < Infinity && !change.isUnsure) problems.push(`${kind}: ${change.value} is lost`)
  }
  for (const value of final) if (!changes.has(value)) problems.push(`${kind}: ${value} was never made`)
  for (const read of readsOf(events, reading)) {
    const shown = new Set(read.values)
    if (shown.size !== read.values.length) problems.push(`${reading}: something is there twice`)
    for (const value of shown) {
      const change = changes.get(value)
      if (change === undefined) problems.push(`${reading}: ${value} was never made`)
      else if (change.start > read.end) problems.push(`${reading}: ${value} was shown before it was made`)
      else if (lost.has(value) && change.mount !== read.mount)
        problems.push(
          `${reading}: mount ${read.mount} has shown ${value} of mount ${change.mount}, which is lost`,
        )
    }
    for (const change of changes.values())
      if (change.end < read.start && !lost.has(change.value) && !shown.has(change.value))
        problems.push(
          `${reading}: mount ${read.mount} did not show ${change.value} of mount ${change.mount}, made before: ` +
            `read ${Math.round(read.start)} to ${Math.round(read.end)} ms, made ${Math.round(change.start)} to ${Math.round(change.end)} ms, ` +
            `${shown.size} shown, ${read.values.at(-1)} last`,
        )
  }
  return problems
}

/** The lines of a log have one order. */
function checkOrder(events: readonly Event[], final: readonly string[]): readonly string[] {
  const problems: string[] = []
  const kept = new Set(final)
  for (const read of readsOf(events, 'read log')) {
    const shown = read.values.filter(value => kept.has(value))
    if (shown.some((value, index) => value !== final[index]))
      problems.push(`read log: mount ${read.mount} has shown another order than that of the end`)
  }
  const ends = new Map(changesOf(events, 'append').map(change => [change.value, change]))
  let latestStart = -Infinity
  for (const value of final) {
    const change = ends.get(value)
    if (change === undefined) continue
    if (change.end < latestStart) problems.push(`append: ${value} comes after a line that was appended later`)
    latestStart = Math.max(latestStart, change.start)
  }
  return problems
}

/**
 * A register whose values are unique is linearisable if the zones of its values can be ordered (Gibbons and Korach): a zone is from the
 * first end of an operation with the value to the last start. Forward zones must not overlap, and no backward zone (end before
 * start) may lie inside a forward one.
 */
function checkRegister(events: readonly Event[], final: string): readonly string[] {
  const problems: string[] = []
  const writes = new Map(changesOf(events, 'set').map(change => [change.value, change]))
  const reads = readsOf(events, 'get')
  const clusters = new Map<string, Span[]>()
  for (const read of [...reads, { start: Infinity, end: Infinity, mount: -1, values: [final] }]) {
    const [value = ''] = read.values
    const write = writes.get(value)
    if (value !== '' && write === undefined) problems.push(`get: ${value} was never set`)
    if (write !== undefined && write.start > read.end)
      problems.push(`get: ${value} was shown before it was set`)
    // A lost change was visible at most on its own mount: it has no place in the order.
    clusters.set(value, [...(clusters.get(value) ?? []), read])
  }
  const zones: { readonly value: string; readonly from: number; readonly to: number }[] = []
  const values = new Set([...clusters.keys(), ...writes.keys()])
  for (const value of values) {
    const write = writes.get(value)
    const readers = clusters.get(value) ?? []
    const isLossy = write?.isUnsure === true && !write.isSynced && value !== final
    if (isLossy && readers.every(({ mount }) => mount === write.mount)) continue
    if (write?.end === Infinity && readers.length === 0) continue
    const spans = [write ?? { start: -Infinity, end: -Infinity, mount: -1 }, ...readers]
    zones.push({
      value,
      from: Math.min(...spans.map(({ end }) => end)),
      to: Math.max(...spans.map(({ start }) => start)),
    })
  }
  const forward = zones.filter(({ from, to }) => from < to).toSorted((a, b) => a.from - b.from)
  for (const [index, zone] of forward.entries()) {
    const next = forward[index + 1]
    if (next !== undefined && next.from < zone.to)
      problems.push(`get: ${zone.value} was shown after ${next.value} had been`)
  }
  for (const inner of zones.filter(({ from, to }) => from >= to)) {
    const outer = forward.find(zone => zone.from < inner.to && inner.from < zone.to)
    if (outer !== undefined)
      problems.push(`get: ${outer.value} was shown although ${inner.value} was set in between`)
  }
  return problems
}

function checkExclusive(events: readonly Event[]): readonly string[] {
  const makers = new Map<string, Exclusive[]>()
  for (const event of events)
    if (event.kind === 'exclusive' && !event.isUnsure)
      makers.set(event.name, [...(makers.get(event.name) ?? []), event])
  return [...makers]
    .filter(([, made]) => made.length > 1)
    .map(([name, made]) => `exclusive: ${name} was made by ${made.map(({ mount }) => mount).join(' and ')}`)
}
