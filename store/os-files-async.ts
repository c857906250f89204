/** The functions of node:fs/promises that take paths or return names, for texts: see os-files.ts. */
import * as fs from 'node:fs/promises'
import { byText } from './os-files.ts'
import { pathOf, textOf } from './os-text.ts'

export const chmod = byText(fs.chmod)
export const link = byText(fs.link, 2)
export const lstat = byText(fs.lstat)
export const mkdir = byText(fs.mkdir)
export const open = byText(fs.open)
export const readFile = byText(fs.readFile)
export const rename = byText(fs.rename, 2)
export const rm = byText(fs.rm)
export const rmdir = byText(fs.rmdir)
export const stat = byText(fs.stat)
export const unlink = byText(fs.unlink)
export const writeFile = byText(fs.writeFile)

export const readdir = async (path: string): Promise<string[]> =>
  (await fs.readdir(pathOf(path), 'buffer')).map(textOf)
export const readlink = async (path: string): Promise<string> =>
  textOf(await fs.readlink(pathOf(path), 'buffer'))
export const realpath = async (path: string): Promise<string> =>
  textOf(await fs.realpath(pathOf(path), 'buffer'))
