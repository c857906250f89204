/**
 * COPY and MOVE of files and directories. A destination is replaced in one step: a server that is killed at any point leaves it as it was
 * or as it is to be, and perhaps `.copy-ID` or `.replaced-ID` beside it, with what is not complete or no longer needed.
 */
import { randomUUID } from 'node:crypto'
import type { Files } from '../../../core/database/files.ts'
import { pathOf } from './resource-path.ts'

/** Replaces the destination in one step. `isTree`: one of the two is a directory, so what is replaced is removed afterwards. */
export async function moveTo(
  files: Files,
  from: readonly Buffer[],
  to: readonly Buffer[],
  isTree: boolean,
): Promise<void> {
  if (!isTree) return await files.rename(pathOf(from), pathOf(to))
  const replaced = `.replaced-${randomUUID()}`
  await files.rename(pathOf(from), pathOf(to), { aside: replaced })
  await files.rm(pathOf(beside(to, replaced)), { recursive: true, force: true })
}

/** Replaces the destination in one step once the copy is complete. */
export async function copyOver(
  files: Files,
  from: readonly Buffer[],
  to: readonly Buffer[],
  { isDeep, isTree }: { readonly isDeep: boolean; readonly isTree: boolean },
): Promise<void> {
  const copy = beside(to, `.copy-${randomUUID()}`)
  try {
    await copyTree(files, from, copy, isDeep)
    await moveTo(files, copy, to, isTree)
  } catch (error) {
    await files.rm(pathOf(copy), { recursive: true, force: true })
    throw error
  }
}

const beside = (path: readonly Buffer[], name: string): readonly Buffer[] => [
  ...path.slice(0, -1),
  Buffer.from(name),
]

/** Copies share the bytes of their sources. */
export async function copyTree(
  files: Files,
  from: readonly Buffer[],
  to: readonly Buffer[],
  isDeep: boolean,
): Promise<void> {
  const stats = await files.lstat(pathOf(from))
  if (stats.isSymbolicLink()) return await files.symlink(await files.readlink(pathOf(from)), pathOf(to))
  if (!stats.isDirectory()) return await files.copyFile(pathOf(from), pathOf(to))
  await files.mkdir(pathOf(to), { mode: stats.mode & 0o7777 })
  if (!isDeep) return
  for await (const { nameBytes } of entriesOf(files, from)) {
    const name = Buffer.from(nameBytes)
    await copyTree(files, [...from, name], [...to, name], true)
  }
}

/** The names in a directory, without attributes. */
export async function* entriesOf(files: Files, segments: readonly Buffer[]) {
  for await (const entry of files.opendir(pathOf(segments))) {
    const { name, nameBytes } = entry
    yield { name, nameBytes, isDirectory: entry.isDirectory() }
  }
}
