/** A tree in one string: every path with its attributes and a hash of its content, to be compared. */
import { createHash } from 'node:crypto'
import { constants } from 'node:fs'
import type { Paths } from './paths.ts'

const { S_IFMT, S_IFDIR, S_IFREG, S_IFLNK } = constants

export async function treeOf(paths: Paths, top: string): Promise<string> {
  const lines: string[] = []
  await walk(paths, top, '', lines)
  return lines.join('\n')
}

async function walk(paths: Paths, top: string, path: string, lines: string[]): Promise<void> {
  const { mode, nlink, uid, gid, size, mtimeNs, ctimeNs } = await paths.stat(`${top}${path}`)
  const type = mode & S_IFMT
  let content = ''
  if (type === S_IFREG)
    content = createHash('sha256')
      .update(await paths.read(`${top}${path}`))
      .digest('hex')
  if (type === S_IFLNK) content = await paths.readlink(`${top}${path}`)
  lines.push([path, mode.toString(8), nlink, uid, gid, size, mtimeNs, ctimeNs, content].join(' '))
  if (type !== S_IFDIR) return
  for (const name of await paths.list(`${top}${path}`)) await walk(paths, top, `${path}/${name}`, lines)
}
