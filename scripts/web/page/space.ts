/** Where the space goes: by file, and by age. */
import { html } from 'htm/preact'
import { bytesText, query, shown } from './client.ts'
import { Plot } from './plot.ts'
import { linkTo, useLoaded, type ViewProps } from './state.ts'

const INTERVALS = 100
const MS_PER_S = 1000

export function SpaceView({ info, place }: ViewProps): unknown {
  const usage = useLoaded(signal => query('usage', {}, signal), [])
  const ages = useLoaded(signal => query('timeline', { count: INTERVALS }, signal), [info.tid])
  return html`
    <section aria-labelledby="ages">
      <h2 id="ages">By age</h2>
      <p>
        The database takes ${bytesText(info.totalBytes)}, of which ${bytesText(info.freeBytes)} are
        free.${' '}
        <a href=${linkTo({ ...place, view: 'history' })}>The history</a> shows what was stored when.
      </p>
      ${
        ages.value !== undefined &&
        html`<${Plot}
          kind="line"
          data=${[ages.value.times.map(time => time / MS_PER_S), sums(ages.value.bytes)]}
          series=${[{ label: 'stored until then', format: bytesText }]}
          label="Bytes stored by all kept transactions until each time"
        />`
      }
    </section>
    <section aria-labelledby="largest">
      <h2 id="largest">Largest files</h2>
      ${usage.state === 'failed' && html`<p role="alert" class="failure">${usage.reason}</p>`}
      ${usage.state === 'loading' && html`<p>Reading the sizes of all files ...</p>`}
      ${
        usage.state === 'loaded' &&
        html`
          <table>
            <thead>
              <tr>
                <th scope="col">Path</th>
                <th scope="col" class="number">Stored</th>
                <th scope="col" class="number">Size</th>
              </tr>
            </thead>
            <tbody>
              ${usage.value.files.map(
                ({ path, storedBytes, sizeBytes }) =>
                  html`<tr key=${path}>
                    <td class="wide">
                      <a href=${linkTo({ view: 'files', path, at: undefined })}>${shown(path)}</a>
                    </td>
                    <td class="number">${bytesText(storedBytes)}</td>
                    <td class="number">${bytesText(sizeBytes)}</td>
                  </tr>`,
              )}
            </tbody>
          </table>
          ${usage.value.isCut && html`<p class="muted">Of the first ${usage.value.count.toLocaleString()} files only.</p>`}
        `
      }
    </section>
  `
}

function sums(values: readonly number[]): number[] {
  let sum = 0
  return values.map(value => (sum += value))
}
