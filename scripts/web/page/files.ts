/** The tree at one moment: directories, and a file with its preview, its blocks by age and its history. */
import { html } from 'htm/preact'
import { useState } from 'preact/hooks'
import type * as Answers from '../answers.ts'
import { BlockMap } from './block-map.ts'
import { ageText, bytesText, change, pathValue, query, rawUrl, shown, timeText } from './client.ts'
import { Compare } from './compare.ts'
import { linkTo, useLoaded, type Place, type ViewProps } from './state.ts'

const PREVIEW_BYTES = 64 << 10
const SPACE = 32
/** Control characters that texts have: tab, line feed, form feed, carriage return, escape. */
const IN_TEXT: ReadonlySet<number> = new Set([9, 10, 12, 13, 27])
const NO_BYTES = new Uint8Array()
const IMAGE = /\.(png|jpe?g|gif|webp|avif)$/i

export const FilesView = (props: ViewProps): unknown => html`
  <${Crumbs} place=${props.place} />
  <${PathView} key=${props.place.path} ...${props} />
`

function PathView(props: ViewProps): unknown {
  const { info, place } = props
  // The present moves on; a moment of the past does not.
  const moment = place.at ?? info.tid
  const loaded = useLoaded(
    signal => query('file', { path: pathValue(place.path), at: place.at, cells: 1 }, signal),
    [place.path, moment],
  )
  return html`
    ${loaded.state === 'failed' && html`<p role="alert" class="failure">${loaded.reason}</p>`}
    ${loaded.value !== undefined && html`<${Compare} place=${place} tags=${info.tags} moment=${moment} />`}
    ${
      loaded.value !== undefined &&
      (loaded.value.type === 'directory'
        ? html`<${Listing} ...${props} moment=${moment} />`
        : html`<${FileView} ...${props} file=${loaded.value} moment=${moment} />`)
    }
  `
}

function Crumbs({ place }: { place: Place }): unknown {
  const names = place.path.split('/').filter(Boolean)
  const crumbs = names.map((name, i) => ({ name, path: `/${names.slice(0, i + 1).join('/')}` }))
  return html`<nav aria-label="Path" class="crumbs">
    <a href=${linkTo({ ...place, path: '' })}>root</a>
    ${crumbs.map(({ name, path }) => html` / <a href=${linkTo({ ...place, path })}>${shown(name)}</a>`)}
  </nav>`
}

function Listing({ place, ask, moment }: ViewProps & { moment: string }): unknown {
  const [filter, setFilter] = useState('')
  const loaded = useLoaded(
    signal => query('list', { path: pathValue(place.path), at: place.at, filter }, signal),
    [place.path, moment, filter],
  )
  const onInput = (event: InputEvent): void => setFilter((event.target as HTMLInputElement).value)
  const { entries = [], isCut = false } = loaded.value ?? {}
  return html`
    <p class="tools">
      <label>Filter <input type="search" value=${filter} onInput=${onInput} /></label>
      ${place.path !== '' && html`<${Actions} place=${place} ask=${ask} />`}
    </p>
    ${loaded.state === 'failed' && html`<p role="alert" class="failure">${loaded.reason}</p>`}
    <table>
      <thead>
        <tr>
          <th scope="col">Name</th>
          <th scope="col" class="number">Size</th>
          <th scope="col" class="number">Stored</th>
          <th scope="col">Changed</th>
        </tr>
      </thead>
      <tbody>
        ${entries.map(
          ({ name, type, size, storedBytes, mtime }) =>
            html`<tr key=${name}>
              <td class="wide">
                <a href=${linkTo({ ...place, path: `${place.path}/${name}` })}
                  >${shown(name)}${type === 'directory' ? '/' : type === 'link' ? '@' : ''}</a
                >
              </td>
              <td class="number">${type === 'directory' || size === undefined ? '' : bytesText(size)}</td>
              <td class="number">
                ${type === 'directory' || storedBytes === undefined ? '' : bytesText(storedBytes)}
              </td>
              <td>${mtime !== undefined && html`<time title=${timeText(mtime)}>${ageText(mtime)}</time>`}</td>
            </tr>`,
        )}
      </tbody>
    </table>
    ${loaded.value !== undefined && entries.length === 0 && html`<p class="muted">No entries.</p>`}
    ${isCut && html`<p class="muted">Only ${entries.length} entries are shown: filter for the others.</p>`}
  `
}

/** What can be done with a path. */
function Actions({ place, ask }: Pick<ViewProps, 'place' | 'ask'>): unknown {
  const { path, at } = place
  return html`
    <a href=${linkTo({ ...place, view: 'history' })}>History</a>
    ${
      at !== undefined &&
      html`<button
        onClick=${() =>
          ask({
            title: 'Restore',
            text: `${shown(path)} becomes what it was after transaction ${at}. Its present state stays in the history.`,
            action: 'Restore',
            run: async () => `Restored in transaction ${await change('restore', { path, at })}.`,
          })}
      >
        Restore ...
      </button>`
    }
    <button
      onClick=${() =>
        ask({
          title: 'Clone',
          text: 'The clone shares all stored bytes and can be changed on its own.',
          action: 'Clone',
          input: { label: 'To', value: `${path}.clone` },
          run: async to =>
            `Cloned in transaction ${await change('clone', { path, to, at: at ?? (await query('info')).tid })}.`,
        })}
    >
      Clone ...
    </button>
  `
}

function FileView({
  place,
  ask,
  file,
  moment,
}: ViewProps & { file: Answers.FileDetails; moment: string }): unknown {
  const { type, size, storedBytes, mtime } = file
  return html`
    <p class="tools">
      ${bytesText(size)}, ${bytesText(storedBytes)} stored, changed
      <time title=${timeText(mtime)}>${ageText(mtime)}</time>
      ${type === 'file' && html`<a href=${rawUrl(place.path, place.at, true)} download>Download</a>`}
      <${Actions} place=${place} ask=${ask} />
    </p>
    ${
      type === 'file' &&
      html`
        <${Preview} place=${place} size=${size} moment=${moment} />
        <${BlockMap} place=${place} size=${size} moment=${moment} />
      `
    }
  `
}

function Preview({ place, size, moment }: { place: Place; size: number; moment: string }): unknown {
  const isImage = IMAGE.test(place.path)
  const url = rawUrl(place.path, moment, false)
  const loaded = useLoaded(
    async signal => (isImage || size === 0 ? undefined : textOf(await start(url, signal))),
    [url],
  )
  if (size === 0) return null
  if (isImage) return html`<img class="preview" src=${url} alt=${`The image ${shown(place.path)}`} />`
  if (loaded.state === 'failed') return html`<p role="alert" class="failure">${loaded.reason}</p>`
  if (loaded.state === 'loading') return html`<p>Loading ...</p>`
  if (loaded.value === undefined)
    return html`<p class="muted">No preview: this is neither text nor an image.</p>`
  return html`
    <pre class="preview" tabindex="0">${loaded.value}</pre>
    ${size > PREVIEW_BYTES && html`<p class="muted">The first ${bytesText(PREVIEW_BYTES)}.</p>`}
  `
}

/** The first bytes of an answer, of which no more is read. @throws Error with the server's message. */
async function start(url: string, signal: AbortSignal): Promise<Uint8Array> {
  const response = await fetch(url, { signal })
  if (!response.ok) throw new Error(response.statusText)
  const bytes = new Uint8Array(PREVIEW_BYTES)
  let length = 0
  const reader = response.body?.getReader()
  if (reader === undefined) return NO_BYTES
  while (length < PREVIEW_BYTES) {
    const { done, value } = await reader.read()
    if (done) break
    const part = value.subarray(0, PREVIEW_BYTES - length)
    bytes.set(part, length)
    length += part.length
  }
  await reader.cancel()
  return bytes.subarray(0, length)
}

/** Undefined if it is not text. */
function textOf(bytes: Uint8Array): string | undefined {
  if (bytes.some(byte => byte < SPACE && !IN_TEXT.has(byte))) return undefined
  try {
    // The end may be within a character.
    return new TextDecoder('utf-8', { fatal: true }).decode(bytes, { stream: true })
  } catch {
    return undefined
  }
}
