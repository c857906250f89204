/** What changed in a file or directory between the moment that is shown and another one. */
import { html } from 'htm/preact'
import { useState } from 'preact/hooks'
import type * as Answers from '../answers.ts'
import { query, timeText } from './client.ts'
import { Differences } from './differences.ts'
import type { Place } from './state.ts'

const PRESENT = 'now'

interface CompareProps {
  readonly place: Place
  readonly tags: readonly Answers.Tag[]
  /** The tid of the moment that is shown. */
  readonly moment: string
}

type Compared = Answers.Moment | { readonly failure: string }

export function Compare({ place, tags, moment }: CompareProps): unknown {
  const [isOpen, setIsOpen] = useState(false)
  const [when, setWhen] = useState(place.at === undefined ? '' : PRESENT)
  const [compared, setCompared] = useState<Compared>()
  const compare = async (event: Event): Promise<void> => {
    event.preventDefault()
    try {
      setCompared(await query('moment', { when }))
    } catch (error) {
      setCompared({ failure: error instanceof Error ? error.message : String(error) })
    }
  }
  const onInput = (event: InputEvent): void => setWhen((event.target as HTMLInputElement).value)
  return html`
    <p><button aria-expanded=${isOpen} onClick=${() => setIsOpen(!isOpen)}>Compare ...</button></p>
    ${
      isOpen &&
      html`<form class="tools" onSubmit=${(event: Event) => void compare(event)}>
        <label>
          Compare with
          <input value=${when} onInput=${onInput} list="moments" aria-describedby="when" required />
        </label>
        <datalist id="moments">
          <option value=${PRESENT} />
          ${tags.map(({ name }) => html`<option value=${name} />`)}
        </datalist>
        <button type="submit">Compare</button>
        <span id="when" class="muted"
          >now, a tag, an age (2h), a time (2026-11-22T10:20) or a transaction</span
        >
      </form>`
    }
    ${isOpen && compared !== undefined && html`<${Result} compared=${compared} moment=${moment} path=${place.path} />`}
  `
}

function Result({ compared, moment, path }: { compared: Compared; moment: string; path: string }): unknown {
  if ('failure' in compared) return html`<p role="alert" class="failure">${compared.failure}</p>`
  // tids have one length: their order is that of time.
  const [before = '', after = ''] = [moment, compared.tid].sort()
  const name = (tid: string): unknown =>
    html`${tid === compared.tid ? timeText(compared.time) : 'the moment shown'} (<code>${tid}</code>)`
  return html`<section aria-label="Differences">
    <p>From ${name(before)} to ${name(after)}:</p>
    <${Differences} before=${before} after=${after} path=${path} />
  </section>`
}
