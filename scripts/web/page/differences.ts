/** What changed between two moments: paths, byte ranges, and lines of text. */
import { html } from 'htm/preact'
import { useState } from 'preact/hooks'
import type * as Answers from '../answers.ts'
import { bytesText, pathValue, query, shown } from './client.ts'
import { useLoaded } from './state.ts'

const RANGES_SHOWN = 12

/** By the first character of a line of a patch. */
const CLASSES: Readonly<Record<string, string>> = { '+': 'added', '-': 'removed' }

interface Moments {
  /** Tids. */
  readonly before: string
  readonly after: string
}

export function Differences({ before, after, path }: Moments & { path: string }): unknown {
  const loaded = useLoaded(
    signal => query('diff', { a: before, b: after, path: pathValue(path) }, signal),
    [before, after, path],
  )
  if (loaded.state === 'failed') return html`<p role="alert" class="failure">${loaded.reason}</p>`
  if (loaded.value === undefined) return html`<p>Comparing ...</p>`
  const { changes, isCut } = loaded.value
  if (changes.length === 0) return html`<p class="muted">No difference.</p>`
  return html`
    <ul class="changes">
      ${changes.map(change => html`<li key=${change.path}><${ChangeItem} change=${change} before=${before} after=${after} /></li>`)}
    </ul>
    ${isCut && html`<p class="muted">Only the first ${changes.length} are shown.</p>`}
  `
}

function ChangeItem({ change, before, after }: Moments & { change: Answers.Change }): unknown {
  const [isOpen, setIsOpen] = useState(false)
  const { kind, path, from, sizeBefore = 0, sizeAfter = 0, ranges, rangeCount, attributes } = change
  const isComparable = kind === 'changed' && rangeCount > 0
  const facts = [
    kind === 'changed' && sizeBefore !== sizeAfter
      ? `${bytesText(sizeBefore)} to ${bytesText(sizeAfter)}`
      : '',
    kind === 'added' || kind === 'removed' ? bytesText(Math.max(sizeBefore, sizeAfter)) : '',
    attributes.filter(name => name !== 'mtime' && name !== 'size').join(', '),
  ].filter(Boolean)
  return html`
    <span class=${`kind ${kind}`}>${kind}</span> ${from !== undefined && `${shown(from)} to `}${shown(path)}
    <span class="muted"> ${facts.join('; ')}</span>
    ${rangeCount > 0 && html`<div class="muted ranges">${rangesText(ranges, rangeCount)}</div>`}
    ${isComparable && html`<button aria-expanded=${isOpen} onClick=${() => setIsOpen(!isOpen)}>Lines</button>`}
    ${isOpen && html`<${Lines} path=${path} from=${from ?? path} before=${before} after=${after} />`}
  `
}

function rangesText(ranges: Answers.Change['ranges'], count: number): string {
  const listed = ranges
    .slice(0, RANGES_SHOWN)
    .map(([lo, hi]) => `${lo.toLocaleString()} to ${hi.toLocaleString()}`)
  const others = count - listed.length
  return `Bytes ${listed.join(', ')}${others > 0 ? ` and ${others.toLocaleString()} more ranges` : ''}`
}

function Lines({ path, from, before, after }: Moments & { path: string; from: string }): unknown {
  const loaded = useLoaded(
    signal => query('patch', { a: before, b: after, path: pathValue(path), from: pathValue(from) }, signal),
    [path, from, before, after],
  )
  if (loaded.state === 'failed') return html`<p role="alert" class="failure">${loaded.reason}</p>`
  if (loaded.state === 'loading') return html`<p>Comparing ...</p>`
  const { lines, isCut } = loaded.value
  return html`
    <pre class="lines" tabindex="0">
${lines.map(line => html`<span class=${CLASSES[line.charAt(0)] ?? 'context'}>${shown(line)}${'\n'}</span>`)}</pre>
    ${isCut && html`<p class="muted">Only the first ${lines.length.toLocaleString()} lines are shown.</p>`}
  `
}
