/** The lines that differ between two texts. */
import { diffLines } from 'diff'
import type { Line } from './answers.ts'

/** Unchanged lines shown before and after a change. */
const CONTEXT = 3
/** A bound on the work, beyond which whole texts are shown as replaced. */
const EDITS_MAX = 2000

export function changedLines(before: string, after: string): readonly Line[] {
  const parts = diffLines(before, after, { maxEditLength: EDITS_MAX }) ?? [
    { value: before, removed: true, added: false },
    { value: after, added: true, removed: false },
  ]
  const lines: Line[] = []
  for (const [i, { value, added, removed }] of parts.entries()) {
    const texts = value.replace(/\n$/, '').split('\n')
    if (added || removed) {
      for (const text of texts) lines.push({ sign: added ? '+' : '-', text })
      continue
    }
    const head = i === 0 ? [] : texts.slice(0, CONTEXT)
    const tail = i === parts.length - 1 ? [] : texts.slice(Math.max(head.length, texts.length - CONTEXT))
    for (const text of head) lines.push({ sign: ' ', text })
    if (head.length + tail.length < texts.length) lines.push({ sign: '…', text: '' })
    for (const text of tail) lines.push({ sign: ' ', text })
  }
  return lines
}
