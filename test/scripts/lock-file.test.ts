/**
 * What `npm ci` needs of package-lock.json beyond what `npm install` writes: it must work on a new machine, with any npm
 * and without a compiler.
 */
import { readFile } from 'node:fs/promises'
import { expect, test } from 'vitest'

interface LockedPackage {
  readonly optionalDependencies?: Readonly<Record<string, string>>
  readonly gypfile?: boolean
}

const lock = JSON.parse(await readFile(new URL('../../package-lock.json', import.meta.url), 'utf8')) as {
  readonly packages: Readonly<Record<string, LockedPackage>>
}

/** Where Node looks for a dependency of the package at `path`: in it, and in the packages that contain it. */
function placesOf(path: string, name: string): readonly string[] {
  const parts = path === '' ? [] : path.split(/(?:^|\/)node_modules\//).slice(1)
  return Array.from({ length: parts.length + 1 }, (_, count) =>
    [...parts.slice(0, count), name].map(part => `node_modules/${part}`).join('/'),
  )
}

test('the optional packages of all platforms are locked, as npm 11 requires', () => {
  // A registry that lacks some makes `npm install` leave them out: they are put back with their version, os and cpu.
  const left = Object.entries(lock.packages).flatMap(([path, { optionalDependencies = {} }]) =>
    Object.keys(optionalDependencies).filter(
      name => !placesOf(path, name).some(place => place in lock.packages),
    ),
  )
  expect(left).toEqual([])
})

test('better-sqlite3 is locked with the "gypfile": false of its package.json', () => {
  // `npm install` drops it from the lock file; npm before 11 then runs node-gyp for a package that brings its binary.
  expect(lock.packages['node_modules/better-sqlite3']?.gypfile).toBe(false)
})
