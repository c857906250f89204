/**
 * The functions of node:fs that take paths or return names, for texts as os-text.ts has them. Node would encode and decode what is not
 * UTF-8 as U+FFFD, which names another file.
 */
import * as fs from 'node:fs'
import { resolve } from 'node:path'
import { pathOf, textOf } from './os-text.ts'

type Call = (...parameters: never[]) => unknown

/** A function of the system whose first parameters, as many as `paths`, are paths. */
export const byText = <Called extends Call>(call: Called, paths = 1): Called =>
  ((...parameters: unknown[]) => {
    for (let index = 0; index < paths; index++) {
      const path = parameters[index]
      if (typeof path === 'string') parameters[index] = pathOf(path)
    }
    return call(...(parameters as never[]))
  }) as unknown as Called

export const accessSync = byText(fs.accessSync)
export const createReadStream = byText(fs.createReadStream)
export const existsSync = byText(fs.existsSync)
export const lstatSync = byText(fs.lstatSync)
export const mkdirSync = byText(fs.mkdirSync)
export const openSync = byText(fs.openSync)
export const readFileSync = byText(fs.readFileSync)
export const renameSync = byText(fs.renameSync, 2)
export const rmSync = byText(fs.rmSync)
export const rmdirSync = byText(fs.rmdirSync)
export const statSync = byText(fs.statSync)
export const statfsSync = byText(fs.statfsSync)
export const truncateSync = byText(fs.truncateSync)
export const watch = byText(fs.watch)
export const writeFileSync = byText(fs.writeFileSync)

export const readdirSync = (path: string): string[] => fs.readdirSync(pathOf(path), 'buffer').map(textOf)
export const readlinkSync = (path: string): string => textOf(fs.readlinkSync(pathOf(path), 'buffer'))
export const realpathSync = (path: string): string => textOf(fs.realpathSync.native(pathOf(path), 'buffer'))

/** @throws the error of getcwd(2) if it has no path. */
export function workingDirectory(): string {
  const path = process.cwd()
  return path.includes('\ufffd') ? readlinkSync('/proc/self/cwd') : path
}

/** The absolute path of one that may be relative to the working directory. */
export const absolutePath = (path: string): string =>
  path.startsWith('/') ? resolve(path) : resolve(workingDirectory(), path)
