/** Summary of a CPU profile. Source: the format of `node --cpu-prof`, Profiler.Profile of the inspector. */
import { relative } from 'node:path'
import { fileURLToPath } from 'node:url'

export interface CpuProfile {
  readonly nodes: readonly {
    readonly id: number
    readonly callFrame: { readonly functionName: string; readonly url: string; readonly lineNumber: number }
  }[]
  readonly samples: readonly number[]
  /** Microseconds since the previous sample. */
  readonly timeDeltas: readonly number[]
}

const ROOT = fileURLToPath(new URL('../..', import.meta.url))
const LINES = 20

/** Lines with the functions that took the most time, excluding their callees. */
export function hottestFunctions({ nodes, samples, timeDeltas }: CpuProfile): readonly string[] {
  const names = new Map(nodes.map(({ id, callFrame }) => [id, nameOf(callFrame)]))
  const times = new Map<string, number>()
  let all = 0
  for (const [index, id] of samples.entries()) {
    const name = names.get(id) ?? ''
    const time = timeDeltas[index] ?? 0
    if (name === '(idle)') continue
    all += time
    times.set(name, (times.get(name) ?? 0) + time)
  }
  return [...times]
    .toSorted(([, a], [, b]) => b - a)
    .slice(0, LINES)
    .map(([name, time]) => `${((time / all) * 100).toFixed(1).padStart(5)}%  ${name}`)
}

function nameOf({ functionName, url, lineNumber }: CpuProfile['nodes'][number]['callFrame']): string {
  const file = url.startsWith('file:') ? relative(ROOT, fileURLToPath(url)) : url
  return `${functionName || '(no name)'}${file === '' ? '' : ` ${file}:${lineNumber + 1}`}`
}
