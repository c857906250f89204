/** The mount as it works: memory, unstored changes, and bytes stored, by second. */
import { html } from 'htm/preact'
import { useEffect, useState } from 'preact/hooks'
import type * as Answers from '../answers.ts'
import { bytesText, query, shown } from './client.ts'
import { Plot } from './plot.ts'

const INTERVAL_MS = 1000
const POINTS = 120
const MS_PER_S = 1000

interface Sample {
  readonly time: number
  readonly live: Answers.Live
}

export function LiveView(): unknown {
  const [samples, setSamples] = useState<readonly Sample[]>([])
  const [failure, setFailure] = useState<string>()
  useEffect(() => {
    const sample = async (): Promise<void> => {
      try {
        const live = await query('live')
        setSamples(before => [...before.slice(1 - POINTS), { time: Date.now() / MS_PER_S, live }])
        setFailure(undefined)
      } catch (error) {
        setFailure(error instanceof Error ? error.message : String(error))
      }
    }
    void sample()
    const timer = setInterval(() => void sample(), INTERVAL_MS)
    return () => clearInterval(timer)
  }, [])
  const last = samples.at(-1)?.live
  if (failure !== undefined) return html`<p role="alert" class="failure">${failure}</p>`
  if (last === undefined) return html`<p>Asking the mount ...</p>`
  if (last.directory === undefined)
    return html`<p>The database is not mounted for writing. Last transaction: <code>${last.tid}</code></p>`
  return html`
    <p>Mounted at ${shown(last.directory)}. Last transaction: <code>${last.tid}</code></p>
    ${
      last.failure !== undefined &&
      html`<p role="alert" class="failure">Changes cannot be stored: ${last.failure}</p>`
    }
    <h2>Throughput, by second</h2>
    <${Lines}
      samples=${samples}
      lines=${
        [
          ['read', live => live.rates?.readBytes],
          ['written', live => live.rates?.writtenBytes],
          ['stored', live => live.rates?.storedBytes],
        ] satisfies Lines
      }
    />
    <p>${Math.round(last.rates?.requests ?? 0).toLocaleString()} requests by second</p>
    <h2>Memory</h2>
    <${Lines}
      samples=${samples}
      lines=${
        [
          ['resident', live => live.residentBytes],
          ['unstored changes', live => live.unstoredBytes],
        ] satisfies Lines
      }
    />
  `
}

type Lines = readonly (readonly [label: string, pick: (live: Answers.Live) => number | undefined])[]

function Lines({ samples, lines }: { samples: readonly Sample[]; lines: Lines }): unknown {
  const last = samples.at(-1)?.live
  const figures = lines.map(([label, pick]) => `${label} ${bytesText((last && pick(last)) ?? 0)}`)
  return html`<${Plot}
    kind="line"
    data=${[samples.map(({ time }) => time), ...lines.map(([, pick]) => samples.map(({ live }) => pick(live) ?? null))]}
    series=${lines.map(([label]) => ({ label, format: bytesText }))}
    label=${figures.join(', ')}
  />`
}
