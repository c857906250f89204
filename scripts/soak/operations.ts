/**
 * The operations of a soak run's processes: many small files as in the crash harness, with rare fsyncs, so that
 * the timer triggers most commits; and a few files of several blocks each, written in large pieces, whose history
 * gives packs work.
 */
import type { Operation, TreeModel } from '../../test/crash/tree-model.ts'
import { inOneRequest, nextOperation } from '../../test/crash/workload.ts'
import type { Random } from '../../test/stress/random.ts'

/** `small`: many small files. `bulk`: a few files of several blocks. */
export type Kind = 'small' | 'bulk'

/** One in this many fsyncs of the crash harness is performed. */
const SYNC_PART = 50
const BULK_FILES = 5
const BULK_SIZE_MAX = 16 << 20
/** Maximum length of a kernel request. */
const WRITE_MAX = 1 << 20

export function next(kind: Kind, model: TreeModel, random: Random): Operation {
  for (;;) {
    const operation = kind === 'bulk' ? proposeBulk(model, random) : nextOperation(model, random)
    if (kind === 'bulk' || operation.kind !== 'sync' || random.below(SYNC_PART) === 0) return operation
  }
}

function proposeBulk(model: TreeModel, random: Random): Operation {
  const path = `/big${random.below(BULK_FILES)}`
  if (!model.has(path)) return { kind: 'create', path, mode: 0o644 }
  const size = model.sizeOf(path)
  const dice = random.below(1000)
  if (dice < 8) return { kind: 'sync', path }
  if (dice < 16) return { kind: 'unlink', path }
  if (dice < 30) return { kind: 'truncate', path, size: random.below(BULK_SIZE_MAX) }
  if (dice < 40) return renamed(path, `/big${random.below(BULK_FILES)}`)
  const len = 1 + random.below(dice < 500 ? 8192 : WRITE_MAX)
  const isAppended = dice % 2 === 0 && size + len <= BULK_SIZE_MAX
  const off = isAppended ? size : random.below(BULK_SIZE_MAX - len)
  return inOneRequest({ path, off, len }, random)
}

const renamed = (path: string, to: string): Operation =>
  path === to ? { kind: 'chmod', path, mode: 0o640 } : { kind: 'rename', path, to }
