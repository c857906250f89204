import type { PackStep } from '../../indexed/pack/pack-steps.ts'

/** A step in the writer's thread: one of a pack, or writing a row of `meta`, durably. */
export type SqlitePackStep =
  PackStep | { readonly kind: 'note'; readonly name: string; readonly value: string }
