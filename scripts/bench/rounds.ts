/** Runs a workload in all places in turn, in alternating order, after a round that is not counted. */
import { forgetMemoryPeak, median, memoryMib } from './measure.ts'
import { PEERS, type Place, type PlaceName } from './places/place.ts'
import { dropPages, interrupted, run } from './programs.ts'
import type { Figure, Memory, Result } from './result.ts'
import type { Setting, Workload } from './workload.ts'

const PEER_MS_MAX = 60_000

/** Called for a failure in a place, whose figures are then discarded. */
export type OnFailure = (place: Place, workload: Workload, error: unknown) => Promise<void>

interface Notes {
  readonly runs: number[]
  readonly start: number | undefined
  peak: number
}

/** Runs a workload; places that fail are left out of the result. */
export async function measure(
  workload: Workload,
  all: readonly Place[],
  setting: Setting,
  rounds: number,
  onFailure: OnFailure,
): Promise<Result> {
  // Write back an earlier workload's data, so that it does not slow this one.
  await run('sync', '--file-system', setting.source)
  const notes = new Map(
    all.filter(({ name }) => workload.places.includes(name)).map(place => [place, begin(place)]),
  )
  for (let round = 0; round <= Math.min(rounds, workload.roundsMax ?? rounds); round++) {
    const places = [...notes.keys()]
    for (const place of round % 2 === 0 ? places : places.toReversed())
      try {
        interrupted.throwIfAborted()
        const start = performance.now()
        const figure = await workload.run(place, setting, round)
        assertNotSlow(place, performance.now() - start)
        if (round > 0) notes.get(place)?.runs.push(figure)
        notePeak(place, notes.get(place))
      } catch (error) {
        interrupted.throwIfAborted()
        notes.delete(place)
        await onFailure(place, workload, error)
      }
  }
  await compare(workload, notes, setting, onFailure)
  const { name, unit, ceiling, targets } = workload
  const figures: Partial<Record<PlaceName, Figure>> = {}
  const memory: Partial<Record<PlaceName, Memory>> = {}
  for (const [place, { runs, start, peak }] of notes) {
    figures[place.name] = { median: median(runs), least: Math.min(...runs), most: Math.max(...runs) }
    if (start !== undefined && place.zblkfs !== undefined)
      memory[place.name] = { start, peak, end: memoryMib(place.zblkfs.pid(), 'VmRSS') }
  }
  return { name, unit, ...(ceiling === undefined ? {} : { ceiling }), targets, figures, memory }
}

function begin({ zblkfs }: Place): Notes {
  if (zblkfs !== undefined) forgetMemoryPeak(zblkfs.pid())
  return { runs: [], start: zblkfs && memoryMib(zblkfs.pid(), 'VmRSS'), peak: 0 }
}

/** A peer that hangs is not used again. */
function assertNotSlow({ name }: Place, ms: number): void {
  if (PEERS.some(peer => peer === name) && ms > PEER_MS_MAX)
    throw new Error(`a round took ${Math.round(ms / 1000)} s: too slow to continue`)
}

/** Read after each round: the next round may have a new daemon. */
function notePeak({ zblkfs }: Place, notes: Notes | undefined): void {
  if (zblkfs !== undefined && notes !== undefined)
    notes.peak = Math.max(notes.peak, memoryMib(zblkfs.pid(), 'VmHWM'))
}

/** The expected digest: the host's; without the host, that of the first place. */
async function compare(
  workload: Workload,
  notes: Map<Place, Notes>,
  setting: Setting,
  onFailure: OnFailure,
): Promise<void> {
  const { digest } = workload
  if (digest === undefined) return
  let expected: string | undefined = workload.places.includes('host') ? undefined : setting.digest
  const places = [...notes.keys()].filter(({ name }) => !name.startsWith('no-op'))
  for (const place of places.toSorted((a, b) => Number(b.name === 'host') - Number(a.name === 'host')))
    try {
      const found = await digest(place, setting)
      if (place.name !== 'host') await dropPages(place.read)
      expected ??= found
      if (found !== expected) throw new Error('what is read is not what was written')
    } catch (error) {
      interrupted.throwIfAborted()
      notes.delete(place)
      await onFailure(place, workload, error)
    }
}
