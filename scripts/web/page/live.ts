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
  /** Of the database on disk. */
  readonly totalBytes: number
}

export function LiveView(): unknown {
  const [samples, setSamples] = useState<readonly Sample[]>([])
  const [failure, setFailure] = useState<string>()
  useEffect(() => {
    const sample = async (): Promise<void> => {
      try {
        const [live, { totalBytes }] = await Promise.all([query('live'), query('info')])
        setSamples(before => [...before.slice(1 - POINTS), { time: Date.now() / MS_PER_S, live, totalBytes }])
        setFailure(undefined)
      } catch (error) {
        setFailure(error instanceof Error ? error.message : String(error))
      }
    }
    void sample()
    const timer = setInterval(() => void sample(), INTERVAL_MS)
    return () => clearInterval(timer)
  }, [])
  const last = samples.at(-1)
  const times = samples.map(({ time }) => time)
  if (failure !== undefined) return html`<p role="alert" class="failure">${failure}</p>`
  if (last === undefined) return html`<p>Asking the mount ...</p>`
  if (last.live.directory === undefined)
    return html`<p>
      The database is not mounted for writing. Last transaction: <code>${last.live.tid}</code>
    </p>`
  return html`
    <p>Mounted at ${shown(last.live.directory)}. Last transaction: <code>${last.live.tid}</code></p>
    ${last.live.failure !== undefined && html`<p role="alert" class="failure">Changes cannot be stored: ${last.live.failure}</p>`}
    ${last.live.isFull === true && html`<p role="alert" class="failure">The disk of the database is full.</p>`}
    <h2>Growth of the database</h2>
    <${Plot}
      kind="line"
      data=${[times, samples.map(({ totalBytes }, i) => Math.max(0, totalBytes - (samples[i - 1]?.totalBytes ?? totalBytes)))]}
      series=${[{ label: 'per second', format: bytesText }]}
      label=${`The database grew to ${bytesText(last.totalBytes)}`}
    />
    <h2>Memory</h2>
    <${Plot}
      kind="line"
      data=${[times, samples.map(({ live }) => live.residentBytes ?? null), samples.map(({ live }) => live.unstoredBytes ?? null)]}
      series=${[
        { label: 'resident', format: bytesText },
        { label: 'unstored changes', format: bytesText },
      ]}
      label=${`Resident ${bytesText(last.live.residentBytes ?? 0)}, unstored ${bytesText(last.live.unstoredBytes ?? 0)}`}
    />
  `
}
