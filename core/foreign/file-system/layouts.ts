/**
 * The layouts of a mount of an external ZODB database: the directories above its own names.
 *
 * | layout  | the root has                             | a moment `@<when>/` has |
 * |---------|------------------------------------------|-------------------------|
 * | `names` | `root/`, `bigfile/`                      | the same                |
 * | `wcfs`  | `head/` with `at`, `watch` and `bigfile/`; | `at`, `bigfile/`      |
 * |         | `.wcfs/` with `zurl` and `pintimeout`    |                         |
 *
 * `root/` has the names that the root mapping leads to; `bigfile/<oid>` is a ZBigFile. `wcfs` is the layout of wendelin.core's own server,
 * so that its clients can use the mount; core/foreign/wcfs/ has its isolation protocol.
 */
import { PersistentMapping } from '../../objects/persistent-mapping.ts'
import { Ref } from '../../objects/pickle/value.ts'
import { ROOT_OID } from '../../../store/ids.ts'
import { name } from '../../file-system/operations.ts'
import type { FixedEntries, GeneratedContent, Target } from './nodes.ts'

export const LAYOUTS = ['names', 'wcfs'] as const
export type LayoutName = (typeof LAYOUTS)[number]

export interface Layout {
  /** The mount's root. */
  readonly root: Target
  readonly moment: Target
}

const fixed = (entries: FixedEntries): Target => ({ kind: 'fixed', entries })
const generated = (content: GeneratedContent): Target => ({ kind: 'generated', content })

const BIGFILES: Target = { kind: 'bigfiles' }
const NAMES = fixed([
  [name('bigfile'), BIGFILES],
  [name('root'), { kind: 'directory', ref: new Ref(ROOT_OID, PersistentMapping.CLASS_NAME) }],
])
const HEAD = fixed([
  [name('at'), generated('at')],
  [name('bigfile'), BIGFILES],
  [name('watch'), { kind: 'watch' }],
])
const CONTROL = fixed([
  [name('pintimeout'), generated('pintimeout')],
  [name('zurl'), generated('zurl')],
])

export const LAYOUT: Readonly<Record<LayoutName, Layout>> = {
  names: { root: NAMES, moment: NAMES },
  wcfs: {
    root: fixed([
      [name('.wcfs'), CONTROL],
      [name('head'), HEAD],
    ]),
    moment: fixed([
      [name('at'), generated('at')],
      [name('bigfile'), BIGFILES],
    ]),
  },
}
