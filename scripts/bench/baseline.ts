/**
 * Ratios of an earlier run, and regressions since. Ratios to ceilings of the same run depend less on the
 * machine than absolute figures, but still do, so the machine is recorded too.
 */
import { readFileSync, writeFileSync } from 'node:fs'
import { arch, cpus, release, totalmem } from 'node:os'
import { OURS } from './places/place.ts'
import { isLessBetter, ratioOf, type Result } from './result.ts'

const WORSE = 0.8
const GIB = 2 ** 30

export interface Baseline {
  /** For example `2 x AMD EPYC, 24 GiB, Linux 6.18 (x64)`. */
  readonly machine: string
  /** Amount of data written and read sequentially, in MiB. */
  readonly mib: number
  /** Keyed by `workload: place`. */
  readonly ratios: Readonly<Record<string, number>>
}

/** A ratio that fell by more than a fifth (or rose by more than a quarter, if less is better). */
export interface Regression {
  readonly name: string
  readonly before: number
  readonly now: number
}

export const machine = (): string =>
  `${cpus().length} x ${cpus()[0]?.model.trim() ?? 'processor'}, ${Math.round(totalmem() / GIB)} GiB, ` +
  `Linux ${release().split('.').slice(0, 2).join('.')} (${arch()})`

/** For each workload and place of zblkfs, the ratio to its ceiling, or the figure if that does not depend on the machine. */
export function ratiosOf(results: readonly Result[]): Record<string, number> {
  const ratios: Record<string, number> = {}
  for (const result of results)
    for (const place of OURS) {
      const isByItself = result.unit === 'B/B' || result.unit === 'MiB'
      const ratio = isByItself ? result.figures[place]?.median : ratioOf(result, place)
      if (ratio !== undefined && Number.isFinite(ratio))
        ratios[`${result.name}: ${place}`] = Number(ratio.toFixed(3))
    }
  return ratios
}

/** The ratios that became worse, among those measured in both runs. */
export function regressions({ ratios }: Baseline, results: readonly Result[]): readonly Regression[] {
  const now = ratiosOf(results)
  const isLess = new Set(results.filter(({ unit }) => isLessBetter(unit)).map(({ name }) => name))
  return Object.entries(now).flatMap(([name, value]) => {
    const before = ratios[name]
    if (before === undefined) return []
    const isWorse = isLess.has(name.slice(0, name.lastIndexOf(':')))
      ? value > before / WORSE
      : value < before * WORSE
    return isWorse ? [{ name, before, now: value }] : []
  })
}

/** The saved baseline; undefined if none is saved. */
export function readBaseline(file: URL): Baseline | undefined {
  try {
    return JSON.parse(readFileSync(file, 'utf8')) as Baseline
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return undefined
    throw error
  }
}

export const saveBaseline = (file: URL, baseline: Baseline): void =>
  writeFileSync(file, `${JSON.stringify(baseline, undefined, 2)}\n`)
