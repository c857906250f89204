/**
 * What must change so that some paths are as they were at a moment, from the differences between the present and that moment.
 *
 * | difference, now -> then                   | with `deletes`                       | without                           |
 * |-------------------------------------------|--------------------------------------|-----------------------------------|
 * | added: it was there then                  | create                               | create                            |
 * | removed: it is there only now             | remove                               | nothing                           |
 * | renamed, both names below the paths       | move back                            | create; the present name stays    |
 * | renamed, only the name then is below      | create: other places stay as they are | create                           |
 * | renamed, only the name now is below       | remove                               | nothing                           |
 * | changed                                   | restore data and attributes          | the same                          |
 */
import type { Tid } from '../../store/ids.ts'
import type { Store } from '../../store/store.ts'
import { differences, isWithin, type Difference } from './difference.ts'

/** One step, with the difference that it undoes. Paths are relative to the root, one character per byte. */
export interface RestoreStep {
  readonly kind: 'create' | 'remove' | 'move' | 'change'
  /** After the step; of a removal, before it. */
  readonly path: string
  /** The path before a move. */
  readonly from?: string
  /** Whether a directory is created with everything that was below it: its present name, elsewhere, stays. */
  readonly isWhole?: true
  readonly difference: Difference
}

export interface RestoreOptions {
  readonly now: Tid
  /** The moment. */
  readonly at: Tid
  /** '' is the whole tree. */
  readonly paths: readonly string[]
  /** Whether what was not there then is removed. */
  readonly deletes: boolean
}

/** The steps, in no particular order. @throws CannotOpenError, StoreError */
export async function* restoreSteps(store: Store, options: RestoreOptions): AsyncGenerator<RestoreStep> {
  const { now, at, deletes } = options
  const isInside = insideOf(options.paths)
  const renamed: RestoreStep[] = []
  for (const top of outermost(options.paths))
    for await (const difference of differences(store, now, at, { path: top })) {
      const { kind, path, from } = difference
      if (kind === 'changed') {
        const step = changeStep(difference, renamed)
        if (step !== undefined) yield step
        continue
      }
      // A rename from one of the paths to another is reported below both.
      const isRepeated = !isWithin(path, top) && isInside(path)
      const wasInside = from !== undefined && isInside(from)
      const step = isRepeated ? undefined : nameStep(difference, deletes, isInside(path), wasInside)
      if (from !== undefined && step !== undefined) renamed.push({ ...step, from })
      if (step !== undefined) yield step
    }
}

/** Whether a path is one of these, or below one. */
export const insideOf =
  (paths: readonly string[]): ((path: string) => boolean) =>
  path =>
    paths.some(top => isWithin(path, top))

/** The change of a file is reported by its present path, which differs if a directory on the way was renamed. */
function changeStep(difference: Difference, renamed: readonly RestoreStep[]): RestoreStep | undefined {
  const { path } = difference
  let above: RestoreStep | undefined
  for (const step of renamed)
    if (
      step.from !== undefined &&
      isWithin(path, step.from) &&
      step.from.length > (above?.from?.length ?? -1)
    )
      above = step
  if (above?.from === undefined) return { kind: 'change', path, difference }
  // What is created whole has the data that it had then.
  return above.kind === 'move'
    ? { kind: 'change', path: above.path + path.slice(above.from.length), difference }
    : undefined
}

/** Without those that lie below another. */
const outermost = (paths: readonly string[]): readonly string[] => {
  const different = [...new Set(paths)]
  return different.filter(path => !different.some(top => top !== path && isWithin(path, top)))
}

function nameStep(
  difference: Difference,
  deletes: boolean,
  isInside: boolean,
  wasInside: boolean,
): RestoreStep | undefined {
  const { kind, path, from } = difference
  if (kind === 'added') return { kind: 'create', path, difference }
  if (kind === 'removed') return deletes ? { kind: 'remove', path, difference } : undefined
  if (from === undefined) return undefined
  if (isInside)
    return deletes && wasInside
      ? { kind: 'move', path, from, difference }
      : { kind: 'create', path, isWhole: true, difference }
  return deletes ? { kind: 'remove', path: from, difference } : undefined
}
