/**
 * `npm run bench:programs [-- --scale N] [--rounds N] [--only WORDS] [--json]`: git, PostgreSQL, LMDB, Berkeley DB, qemu-img and h5py on
 * zblkfs, beside bindfs and the disk's own filesystem in the same minutes.
 *
 * Each round runs a program in all places, in alternating order, each time in a new directory; figures are medians. `--scale 0.1` does a
 * tenth of the work, and ratios of short runs vary more. A program that is missing is reported with the packages that it needs, and
 * skipped. Needs root, because PostgreSQL's server runs as the user postgres.
 */
import { mkdirSync, mkdtempSync, rmSync, chmodSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { parseArgs } from 'node:util'
import { median } from './measure.ts'
import { openPlace } from './places/open-place.ts'
import type { Place } from './places/place.ts'
import { mountZblkfs } from './places/zblkfs.ts'
import { endOnSignals, interrupted, run, runThrough } from './programs.ts'
import { PROGRAM_WORKLOADS, type ProgramWorkload } from './real-programs/workloads.ts'

const FILES_MIB = 1024

type Where = 'zblkfs' | 'bindfs' | 'host'
interface ProgramPlace {
  readonly name: Where
  readonly directory: string
  close(): Promise<void>
}
/** Medians by place. */
type Figures = ReadonlyMap<Where, number>

/** Other users may use it: PostgreSQL's server does not run as root. */
async function openZblkfs(root: string): Promise<ProgramPlace> {
  const directory = join(root, 'zblkfs')
  const mounted = await mountZblkfs(`${directory}.db`, directory, ['allow_other'])
  const close = async (): Promise<void> =>
    await mounted.unmount().catch(async () => void (await runThrough('umount', '-l', directory)))
  return { name: 'zblkfs', directory, close }
}

async function openOther(name: 'bindfs' | 'host', root: string): Promise<ProgramPlace> {
  const place: Place = await openPlace(name, root, FILES_MIB)
  return { name, directory: place.directory ?? '', close: async () => await place.close() }
}

async function measure(
  workload: ProgramWorkload,
  places: readonly ProgramPlace[],
  shared: string,
  { scale, rounds }: { readonly scale: number; readonly rounds: number },
): Promise<Figures> {
  await workload.prepare?.(shared, scale)
  const figures = new Map<Where, number[]>()
  for (let round = 0; round < rounds; round++)
    for (const place of round % 2 === 0 ? places : places.toReversed()) {
      interrupted.throwIfAborted()
      const directory = join(place.directory, `work${round}`)
      mkdirSync(directory)
      // The changes of the last program are not this one's work.
      await run('sync', '-f', directory)
      try {
        const figure = await workload.run(directory, shared, scale)
        figures.set(place.name, [...(figures.get(place.name) ?? []), figure])
      } finally {
        rmSync(directory, { recursive: true, force: true })
      }
    }
  return new Map([...figures].map(([name, all]) => [name, median(all)]))
}

function line({ name, unit, beside, wanted }: ProgramWorkload, figures: Figures): string {
  const cell = (place: Where): string => {
    const figure = figures.get(place)
    if (figure === undefined) return '-'
    return unit === 's' ? `${figure.toFixed(2)} s` : `${Math.round(figure)}/s`
  }
  const ratio = (figures.get('zblkfs') ?? NaN) / (figures.get(beside) ?? NaN)
  const isMet = unit === 's' ? ratio <= wanted : ratio >= wanted
  const target = `${unit === 's' ? 'at most' : 'at least'} ${wanted} of ${beside}`
  const cells = (['zblkfs', 'bindfs', 'host'] as const).map(place => cell(place).padStart(11))
  return `${name.padEnd(52)}${cells.join('')}${ratio.toFixed(2).padStart(8)}  ${target}: ${isMet ? 'met' : 'missed'}`
}

async function main(): Promise<void> {
  const { values } = parseArgs({
    options: {
      scale: { type: 'string', default: '1' },
      rounds: { type: 'string', default: '1' },
      only: { type: 'string', default: '' },
      json: { type: 'boolean', default: false },
    },
  })
  const extent = { scale: Number(values.scale), rounds: Number(values.rounds) }
  if (!(extent.scale > 0) || !(extent.rounds >= 1))
    throw new Error('--scale must be a positive number, and --rounds at least 1')
  endOnSignals()
  const root = mkdtempSync(join(tmpdir(), 'zblkfs-bench-programs-'))
  chmodSync(root, 0o755)
  const shared = join(root, 'shared')
  mkdirSync(shared)
  const places: ProgramPlace[] = []
  const all: Record<string, Record<string, number>> = {}
  try {
    places.push(await openZblkfs(root))
    for (const name of ['bindfs', 'host'] as const)
      await openOther(name, root).then(
        place => places.push(place),
        (error: unknown) => console.error(`${name} is left out: ${String(error)}`),
      )
    if (!values.json) {
      const size = extent.scale === 1 ? '' : `, ${extent.scale} of the work`
      console.log(
        `${`medians of ${extent.rounds}${size}`.padEnd(52)}     zblkfs     bindfs       host   ratio`,
      )
    }
    for (const workload of PROGRAM_WORKLOADS) {
      if (!workload.name.includes(values.only)) continue
      try {
        const figures = await measure(workload, places, shared, extent)
        all[workload.name] = Object.fromEntries(figures)
        if (!values.json) console.log(line(workload, figures))
      } catch (error) {
        interrupted.throwIfAborted()
        const reason = error instanceof Error ? error.message.trim().slice(-500) : String(error)
        console.error(`${workload.name} is left out (it needs ${workload.packages}): ${reason}`)
      }
    }
    if (values.json) console.log(JSON.stringify({ ...extent, medians: all }, undefined, 2))
  } finally {
    for (const place of places) await place.close()
    rmSync(root, { recursive: true, force: true })
  }
}

await main().catch((error: unknown) => {
  console.error(error instanceof Error ? error.message : error)
  process.exitCode = 1
})
