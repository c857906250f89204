/** Where the page is: its view, path and moment, kept in the fragment of the URL so that links and the back button work. */
import { useEffect, useState } from 'preact/hooks'
import type { Info } from '../answers.ts'

export const VIEWS = ['history', 'files', 'space', 'live'] as const
export type View = (typeof VIEWS)[number]

export interface Place {
  readonly view: View
  /** Begins with a slash unless it is the root, ''. */
  readonly path: string
  /** A tid; undefined for the present. */
  readonly at: string | undefined
}

/** What every view gets. */
export interface ViewProps {
  readonly info: Info
  readonly place: Place
  /** Asks before a change, makes it, and reports the outcome. */
  readonly ask: (question: Question) => void
}

export interface Question {
  readonly title: string
  readonly text: string
  /** What the button says. */
  readonly action: string
  /** If set, the user enters a text. */
  readonly input?: { readonly label: string; readonly value: string }
  readonly run: (input: string) => Promise<string>
}

export function linkTo(place: Place): string {
  const search = new URLSearchParams({ path: JSON.stringify(place.path) })
  if (place.at !== undefined) search.set('at', place.at)
  return `#${place.view}?${search.toString()}`
}

export function placeOf(fragment: string): Place {
  const [name = '', search = ''] = fragment.replace(/^#/, '').split('?')
  const parameters = new URLSearchParams(search)
  const view = VIEWS.find(known => known === name) ?? 'history'
  return { view, path: parsedPath(parameters.get('path')), at: parameters.get('at') ?? undefined }
}

function parsedPath(text: string | null): string {
  try {
    const path: unknown = JSON.parse(text ?? '""')
    return typeof path === 'string' ? path : ''
  } catch {
    return ''
  }
}

export function usePlace(): Place {
  const [place, setPlace] = useState(() => placeOf(location.hash))
  useEffect(() => {
    const update = (): void => setPlace(placeOf(location.hash))
    addEventListener('hashchange', update)
    return () => removeEventListener('hashchange', update)
  }, [])
  return place
}

export type Loaded<T> =
  | { readonly state: 'loading'; readonly value?: T }
  | { readonly state: 'failed'; readonly reason: string; readonly value?: undefined }
  | { readonly state: 'loaded'; readonly value: T }

/** Loads again whenever `keys` change; an obsolete load is aborted. */
export function useLoaded<T>(load: (signal: AbortSignal) => Promise<T>, keys: readonly unknown[]): Loaded<T> {
  const [loaded, setLoaded] = useState<Loaded<T>>({ state: 'loading' })
  useEffect(() => {
    const abort = new AbortController()
    setLoaded(before =>
      before.state === 'loaded' ? { state: 'loading', value: before.value } : { state: 'loading' },
    )
    load(abort.signal).then(
      value => setLoaded({ state: 'loaded', value }),
      (error: unknown) => {
        if (!abort.signal.aborted)
          setLoaded({ state: 'failed', reason: error instanceof Error ? error.message : String(error) })
      },
    )
    return () => abort.abort()
  }, keys)
  return loaded
}
