/** The difference of a file between two moments as text, in the form of `git diff`, which `patch -p1` and `git apply` read. */
import { isDirectory, isRegular, isSymbolicLink, type Inode } from '../tree/inode.ts'
import type { Oid } from '../../store/ids.ts'
import type { Store } from '../../store/store.ts'
import { changedParts } from './byte-search.ts'
import { FileContent } from './file-content.ts'
import { type Difference, inodeAt } from './inode-difference.ts'
import { hunks } from './line-difference.ts'
import type { MomentView } from './moment-view.ts'

/** Maximum size of a file that is compared line by line. */
export const TEXT_MAX_BYTES = 4n << 20n
/** A file with a NUL among its first bytes is not text, as for diff and git. */
const LOOK_BYTES = 8000

export interface Patched extends Pick<Difference, 'kind' | 'path' | 'from'> {
  /** The inode, if known. */
  readonly oid?: Oid
}

/** The lines of a patch, one character per byte, without newlines; none for a directory. */
export async function* patch(
  store: Store,
  before: MomentView | undefined,
  after: MomentView | undefined,
  { kind, path, from = path, oid }: Patched,
): AsyncGenerator<string> {
  const was = kind === 'added' ? undefined : await inodeOf(before, oid, from)
  const is = kind === 'removed' ? undefined : await inodeOf(after, oid, path)
  const [modeBefore, modeAfter] = [await modeOf(was), await modeOf(is)]
  const mode = modeAfter ?? modeBefore
  if (mode === undefined || isDirectory({ mode })) return
  const [old, now] = [await textOf(before, was), await textOf(after, is)]
  const head = [`diff --git a/${from} b/${path}`]
  if (modeBefore === undefined) head.push(`new file mode ${octal(mode)}`)
  else if (modeAfter === undefined) head.push(`deleted file mode ${octal(mode)}`)
  else if (modeBefore !== modeAfter)
    head.push(`old mode ${octal(modeBefore)}`, `new mode ${octal(modeAfter)}`)
  if (from !== path) head.push(`rename from ${from}`, `rename to ${path}`)
  if (typeof old === 'string' || typeof now === 'string') {
    if (await hasSameData(store, before, was, after, is)) {
      if (head.length > 1) yield* head
      return
    }
    yield* head
    yield `Binary files ${was === undefined ? '/dev/null' : `a/${from}`} and ${is === undefined ? '/dev/null' : `b/${path}`} differ`
    return
  }
  let isHead = true
  for (const line of hunks(old, now)) {
    if (isHead) {
      yield* head
      yield `--- ${was === undefined ? '/dev/null' : `a/${from}`}`
      yield `+++ ${is === undefined ? '/dev/null' : `b/${path}`}`
      isHead = false
    }
    yield* line.endsWith('\n') ? [line.slice(0, -1)] : line.startsWith('@') ? [line] : [line, NO_NEWLINE]
  }
  if (isHead && head.length > 1) yield* head
}

/** Whether a file that both moments have has the same data. */
async function hasSameData(
  store: Store,
  before: MomentView | undefined,
  was: Inode | undefined,
  after: MomentView | undefined,
  is: Inode | undefined,
): Promise<boolean> {
  if (before === undefined || was === undefined || after === undefined || is === undefined) return false
  if (was.oid !== is.oid) return false
  for await (const _ of changedParts(store, [before, was], [after, is], 0n)) return false
  return true
}

const NO_NEWLINE = '\\ No newline at end of file'

const octal = (mode: number): string => mode.toString(8).padStart(6, '0')

async function inodeOf(
  view: MomentView | undefined,
  oid: Oid | undefined,
  path: string,
): Promise<Inode | undefined> {
  if (view === undefined) return undefined
  const known = oid === undefined ? undefined : await inodeAt(view, oid)
  return known !== undefined && known.nlink > 0 ? known : await view.find(path)
}

async function modeOf(inode: Inode | undefined): Promise<number | undefined> {
  await inode?.activate()
  return inode?.mode
}

/** The lines of a file, each with its newline, or 'binary'. */
async function textOf(
  view: MomentView | undefined,
  inode: Inode | undefined,
): Promise<readonly string[] | 'binary'> {
  if (view === undefined || inode === undefined) return []
  await inode.activate()
  if (isSymbolicLink(inode)) return [Buffer.from(inode.target).toString('latin1')]
  if (!isRegular(inode)) return []
  const content = await FileContent.of(view, inode)
  if (content.size > TEXT_MAX_BYTES) return 'binary'
  const bytes = await content.whole()
  if (bytes.subarray(0, LOOK_BYTES).includes(0)) return 'binary'
  return bytes.toString('latin1').match(/[^\n]*\n|[^\n]+$/g) ?? []
}
