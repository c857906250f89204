/** The page of `zblkfs web`. */
import { html } from 'htm/preact'
import { render, type VNode } from 'preact'
import { useEffect, useRef, useState } from 'preact/hooks'
import type { Info } from '../answers.ts'
import { bytesText, query, shown, timeText } from './client.ts'
import { FilesView } from './files.ts'
import { HistoryView, tagQuestion } from './history.ts'
import { LiveView } from './live.ts'
import { SpaceView } from './space.ts'
import { linkTo, usePlace, VIEWS, type Question, type View, type ViewProps } from './state.ts'

const REFRESH_MS = 3000

const TITLES: Readonly<Record<View, string>> = {
  history: 'History',
  files: 'Files',
  space: 'Space',
  live: 'Live',
}
const CONTENTS: Readonly<Record<View, (props: ViewProps) => unknown>> = {
  history: HistoryView,
  files: FilesView,
  space: SpaceView,
  live: LiveView,
}

function Page(): VNode {
  const place = usePlace()
  const [info, setInfo] = useState<Info>()
  const [failure, setFailure] = useState<string>()
  const [question, setQuestion] = useState<Question>()
  const [outcome, setOutcome] = useState<string>()
  const refresh = async (): Promise<void> => {
    try {
      setInfo(await query('info'))
      setFailure(undefined)
    } catch {
      setFailure("The server does not answer: was 'zblkfs web' ended?")
    }
  }
  useEffect(() => {
    void refresh()
    const timer = setInterval(() => void refresh(), REFRESH_MS)
    return () => clearInterval(timer)
  }, [])
  const done = (message: string): void => {
    setQuestion(undefined)
    setOutcome(message)
    void refresh()
  }
  const Content = CONTENTS[place.view]
  return html`
    <header>
      <h1>${info === undefined ? 'zblkfs' : shown(info.name)}</h1>
      <nav aria-label="Views">
        ${VIEWS.map(
          view =>
            html`<a
              href=${linkTo({ ...place, view })}
              aria-current=${view === place.view ? 'page' : undefined}
            >
              ${TITLES[view]}
            </a>`,
        )}
      </nav>
      ${info !== undefined && html`<${Facts} info=${info} />`}
    </header>
    ${place.at !== undefined && html`<${Past} place=${place} ask=${setQuestion} />`}
    <div role="status" class="outcome">${outcome}</div>
    ${failure !== undefined && html`<p role="alert" class="failure">${failure}</p>`}
    <main id="main">
      ${info !== undefined && html`<${Content} info=${info} place=${place} ask=${setQuestion} />`}
    </main>
    ${
      question !== undefined &&
      html`<${Dialog} question=${question} done=${done} cancel=${() => setQuestion(undefined)} />`
    }
  `
}

const Facts = ({ info }: { info: Info }): unknown => html`
  <p class="facts">
    ${bytesText(info.totalBytes)} on disk, last transaction ${timeText(info.time)}
    ${info.mount === undefined ? '' : `, mounted at ${shown(info.mount)}`}
  </p>
`

/** Says that the past is shown. */
function Past({ place, ask }: Pick<ViewProps, 'place' | 'ask'>): unknown {
  const { at } = place
  if (at === undefined) return null
  return html`<p class="past">
    The files are shown as they were after transaction <code>${at}</code>.${' '}
    <a href=${linkTo({ ...place, at: undefined })}>Show the present</a>${' '}
    <button onClick=${() => ask(tagQuestion(at))}>Tag ...</button>
  </p>`
}

/** Asks before the database is changed. */
function Dialog({
  question,
  done,
  cancel,
}: {
  question: Question
  done: (message: string) => void
  cancel: () => void
}): unknown {
  const { title, text, action, input } = question
  const element = useRef<HTMLDialogElement>(null)
  const [value, setValue] = useState(input?.value ?? '')
  const [failure, setFailure] = useState<string>()
  const [isBusy, setIsBusy] = useState(false)
  useEffect(() => element.current?.showModal(), [])
  const run = async (event: Event): Promise<void> => {
    event.preventDefault()
    setIsBusy(true)
    try {
      done(await question.run(value))
    } catch (error) {
      setFailure(error instanceof Error ? error.message : String(error))
    } finally {
      setIsBusy(false)
    }
  }
  const onInput = (event: InputEvent): void => setValue((event.target as HTMLInputElement).value)
  return html`<dialog ref=${element} onCancel=${cancel} onClose=${cancel} aria-labelledby="question">
    <form onSubmit=${(event: Event) => void run(event)}>
      <h2 id="question">${title}</h2>
      <p>${text}</p>
      ${input !== undefined && html`<label>${input.label} <input value=${value} onInput=${onInput} required /></label>`}
      ${failure !== undefined && html`<p role="alert" class="failure">${failure}</p>`}
      <p class="buttons">
        <button type="button" onClick=${cancel}>Cancel</button>
        <button type="submit" class="primary" disabled=${isBusy}>${action}</button>
      </p>
    </form>
  </dialog>`
}

document.body.replaceChildren()
render(html`<${Page} />`, document.body)
