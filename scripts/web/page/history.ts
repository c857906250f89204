/** The timeline of the history, and its transactions with what each changed. */
import { html } from 'htm/preact'
import { useEffect, useState } from 'preact/hooks'
import type * as Answers from '../answers.ts'
import { ageText, bytesText, change, pathValue, query, shown, timeText } from './client.ts'
import { Differences } from './differences.ts'
import { Plot } from './plot.ts'
import { linkTo, useLoaded, type Place, type ViewProps } from './state.ts'

const INTERVALS = 300
const MS_PER_S = 1000
const READING = html`<p>Reading the transactions ...</p>`

export function HistoryView({ info, place, ask }: ViewProps): unknown {
  const [range, setRange] = useState<readonly [number, number]>()
  // The list is what can be used: the timeline, which reads all transactions, must not delay it.
  const [isListed, setIsListed] = useState(false)
  const onSelect = (from: number, to: number): void => setRange([Math.floor(from), Math.ceil(to)])
  return html`
    <section aria-label="Timeline">
      ${isListed ? html`<${Timeline} tid=${info.tid} range=${range} onSelect=${onSelect} />` : READING}
      ${
        range !== undefined &&
        html`<p>
          ${timeText(range[0])} to ${timeText(range[1])}
          <button onClick=${() => setRange(undefined)}>Show all</button>
        </p>`
      }
    </section>
    ${info.tags.length > 0 && html`<${Tags} tags=${info.tags} place=${place} />`}
    <${Transactions}
      key=${range?.join()}
      last=${info.tid}
      range=${range}
      place=${place}
      ask=${ask}
      onListed=${setIsListed}
    />
  `
}

interface TimelineProps {
  readonly tid: string
  readonly range: readonly [number, number] | undefined
  readonly onSelect: (from: number, to: number) => void
}

function Timeline({ tid, range, onSelect }: TimelineProps): unknown {
  const loaded = useLoaded(
    signal => query('timeline', { count: INTERVALS, from: range?.[0], to: range?.[1] }, signal),
    [tid, range],
  )
  if (loaded.state === 'failed') return html`<p role="alert" class="failure">${loaded.reason}</p>`
  const { value } = loaded
  if (value === undefined) return READING
  const times = value.times.map(time => time / MS_PER_S)
  return html`
    <h2>${value.count.toLocaleString()} transactions</h2>
    <${Plot}
      kind="bars"
      data=${[times, value.bytes]}
      series=${[{ label: 'stored', format: bytesText }]}
      onSelect=${onSelect}
      label="Bytes stored over time. The table below has the transactions."
    />
    <p class="hint">Bytes stored over time. Drag over a range to look closer.</p>
  `
}

const Tags = ({ tags, place }: { tags: readonly Answers.Tag[]; place: Place }): unknown => html`
  <section aria-labelledby="tags">
    <h2 id="tags">Tags</h2>
    <ul class="tags">
      ${tags.map(
        ({ name, tid }) =>
          html`<li><a href=${linkTo({ view: 'files', path: place.path, at: tid })}>${shown(name)}</a></li>`,
      )}
    </ul>
  </section>
`

interface TransactionsProps extends Pick<ViewProps, 'place' | 'ask'> {
  readonly last: string
  readonly range: readonly [number, number] | undefined
  /** Called with true when the first page has been read, or cannot be. */
  readonly onListed: (isListed: true) => void
}

function Transactions({ last, range, place, ask, onListed }: TransactionsProps): unknown {
  /** Where each page that was turned to begins. */
  const [pages, setPages] = useState<readonly string[]>([])
  const before = pages.at(-1)
  const loaded = useLoaded(
    signal =>
      query(
        'log',
        { before, path: pathValue(place.path), untilTime: before === undefined ? range?.[1] : undefined },
        signal,
      ),
    [before, place.path, before === undefined ? last : undefined, range],
  )
  useEffect(() => {
    if (loaded.state !== 'loading') onListed(true)
  }, [loaded.state])
  if (loaded.state === 'failed') return html`<p role="alert" class="failure">${loaded.reason}</p>`
  const { transactions = [], isCut = false } = loaded.value ?? {}
  const oldest = transactions.at(-1)?.tid
  return html`
    <section aria-labelledby="transactions">
      <h2 id="transactions">
        ${place.path === '' ? 'Transactions' : `Transactions of ${shown(place.path)}`}
      </h2>
      ${place.path !== '' && html`<p><a href=${linkTo({ ...place, path: '' })}>Show those of all files</a></p>`}
      <table>
        <thead>
          <tr>
            <th scope="col">When</th>
            <th scope="col">What</th>
            <th scope="col" class="number">Stored</th>
            <th scope="col">Actions</th>
          </tr>
        </thead>
        <tbody>
          ${transactions.map(
            transaction =>
              html`<${Row} key=${transaction.tid} transaction=${transaction} place=${place} ask=${ask} />`,
          )}
        </tbody>
      </table>
      ${loaded.state === 'loading' && html`<p>Loading ...</p>`}
      <p class="buttons">
        <button disabled=${pages.length === 0} onClick=${() => setPages(pages.slice(0, -1))}>Newer</button>
        <button disabled=${!isCut} onClick=${() => oldest !== undefined && setPages([...pages, oldest])}>
          Older
        </button>
      </p>
    </section>
  `
}

interface RowProps extends Pick<ViewProps, 'place' | 'ask'> {
  readonly transaction: Answers.Transaction
}

function Row({ transaction, place, ask }: RowProps): unknown {
  const [isOpen, setIsOpen] = useState(false)
  const { tid, time, message, files, fileCount, bytes } = transaction
  const others = fileCount - files.length
  return html`
    <tr>
      <td><time title=${timeText(time)}>${ageText(time)}</time><br /><code>${tid}</code></td>
      <td class="wide">
        ${message === '' ? html`<span class="muted">${fileCount} changed</span>` : shown(message)}
        <div class="muted">
          ${files.slice(0, 3).map(shown).join(', ')}${fileCount > 3 && ` and ${fileCount - 3} more`}
        </div>
      </td>
      <td class="number">${bytesText(bytes)}</td>
      <td class="actions">
        <button aria-expanded=${isOpen} onClick=${() => setIsOpen(!isOpen)}>Changes</button>
        <a href=${linkTo({ view: 'files', path: '', at: tid })}>Browse</a>
        <button onClick=${() => ask(tagQuestion(tid))}>Tag ...</button>
        <button onClick=${() => ask(undoQuestion(transaction))}>Undo ...</button>
      </td>
    </tr>
    ${
      isOpen &&
      html`<tr>
        <td colspan="4">
          <${Differences} before=${previousOf(tid)} after=${tid} path=${place.path} />
          ${others > 0 && html`<p class="muted">${fileCount} paths changed.</p>`}
        </td>
      </tr>`
    }
  `
}

const previousOf = (tid: string): string => (BigInt(`0x${tid}`) - 1n).toString(16).padStart(16, '0')

export const tagQuestion = (tid: string): Parameters<ViewProps['ask']>[0] => ({
  title: 'Tag this moment',
  text: `The state after transaction ${tid} gets a name, and is kept by every pack.`,
  action: 'Tag',
  input: { label: 'Name', value: '' },
  run: async name => `Tagged ${name} in transaction ${await change('tag', { name, at: tid })}.`,
})

const undoQuestion = ({ tid, time }: Answers.Transaction): Parameters<ViewProps['ask']>[0] => ({
  title: 'Undo this transaction',
  text: `A new transaction reverts what ${tid} of ${timeText(time)} changed. Later changes of other data stay. The undo can be undone.`,
  action: 'Undo',
  run: async () => `Undone in transaction ${await change('undo', { tid })}.`,
})
