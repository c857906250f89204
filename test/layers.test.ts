/**
 * The walls between layers that the linter cannot hold: imports of types count as imports, and branded ids are made in one
 * place each.
 */
import { readdirSync, readFileSync } from 'node:fs'
import { dirname, join, relative } from 'node:path'
import { describe, expect, test } from 'vitest'

const ROOT = join(import.meta.dirname, '..')
const SELF = 'test/layers.test.ts'
const LAYERS = ['store', 'core', 'mount', 'scripts']

/** Programs of the project itself, and files of the package: their paths are no user's. */
const TYPES_NO_PATHS = /^scripts\/(?:bench|soak|crash|package|docs|web\/assets)/

/** Where each branded id may be made by a cast. */
const CONSTRUCTORS: Readonly<Record<string, string>> = {
  Oid: 'store/ids.ts',
  Tid: 'store/ids.ts',
  Ino: 'core/file-system/operations.ts',
  Fh: 'core/file-system/operations.ts',
  Name: 'core/file-system/operations.ts',
}

/** Errors without a code of errors.ts, and how each is handled. */
const UNCODED: Readonly<Record<string, string>> = {
  CodedError: 'the base of the others',
  BulkDamageError: 'a CorruptRecordError, where it is known whose bytes they are',
  ConnectionLostError: 'tried again, or a StoreError',
  ErrnoError: 'a POSIX number, which the kernel or a FileError gets',
  FileError: 'has the code and number that errors of node:fs have',
  FrameError: 'the connection of a socket is closed',
  HttpError: 'becomes the status of an answer (scripts/serve/webdav)',
  MarkMemoryError: 'the marks of the last pack are not used: all objects are visited',
  MalformedMessageError: 'becomes EINVAL (scripts/serve/9p)',
  MalformedRequestError: 'the answer EINVAL to the kernel, and a line of the log',
  ObjectMissingError: 'a BulkDamageError in the bulk of a bucket',
  RefusedRequestError: 'an HTTP status of zblkfs web',
  S3AnswerError: 'tried again, or a StoreError with the bucket and what to do',
  S3ConnectionError: 'tried again, or a StoreError with the endpoint',
  PickleError: 'a CorruptRecordError, where it is known whose record it is',
}

const filesOf = (folder: string): readonly string[] =>
  readdirSync(join(ROOT, folder), { recursive: true, encoding: 'utf8' })
    .filter(name => name.endsWith('.ts'))
    .map(name => `${folder}/${name}`)

const files = LAYERS.flatMap(filesOf)
files.push('index.ts')
const textsOf = (names: readonly string[]): ReadonlyMap<string, string> =>
  new Map(names.map(file => [file, readFileSync(join(ROOT, file), 'utf8')]))
const textOf = textsOf(files)

const importsOf = new Map(
  [...textOf].map(([file, text]) => [
    file,
    [...text.matchAll(/\b(?:from|import|import\(|require\(|new URL\()\s?['"](\.[^'"]+)['"]/g)].map(
      ([, imported]) => relative(ROOT, join(ROOT, dirname(file), imported ?? '')),
    ),
  ]),
)

/** The SDK (index.ts) lies above all layers but scripts, and so beside it. */
const layerOf = (file: string): number =>
  file === 'index.ts' ? LAYERS.indexOf('scripts') : LAYERS.indexOf(file.split('/')[0] ?? '')

const breaking = (isBroken: (file: string, imported: string) => boolean): string[] =>
  [...importsOf].flatMap(([file, imports]) =>
    imports.filter(imported => isBroken(file, imported)).map(imported => `${file} -> ${imported}`),
  )

describe('imports', () => {
  test('point down only', () => {
    expect(breaking((file, imported) => layerOf(imported) > layerOf(file))).toEqual([])
  })

  test('reach a store through the files directly in store/ only', () => {
    const broken = breaking((file, imported) => layerOf(file) > 0 && /^store\/[^/]+\//.test(imported))
    expect(broken).toEqual([])
  })

  test('leave mount/ to FUSE: other protocols are served by scripts/serve/', () => {
    const folders = [...textOf.keys()].filter(file => file.startsWith('mount/')).map(dirname)
    const rooms = new Set(folders.map(folder => folder.split('/')[1]))
    expect(rooms).toEqual(new Set(['daemon', 'drivers', 'mount-points']))
  })

  test('are of packages that are installed with this one', () => {
    const { dependencies, peerDependencies } = JSON.parse(
      readFileSync(join(ROOT, 'package.json'), 'utf8'),
    ) as {
      readonly dependencies: object
      readonly peerDependencies: object
    }
    const installed = new Set([...Object.keys(dependencies), ...Object.keys(peerDependencies), 'zblkfs'])
    const others = [...textOf].flatMap(([file, text]) =>
      [...text.matchAll(/^import (?!type\b)[^']*'([^.'][^']*)'|\b(?:import|require)\('([^.'][^']*)'\)/gm)]
        .map(([, imported, called]) => imported ?? called ?? '')
        .filter(name => !name.startsWith('node:') && !installed.has(packageOf(name)))
        .map(name => `${file} -> ${name}`),
    )
    expect(others).toEqual([])
  })

  test('have no cycles, including imports of types', () => {
    expect(cycles()).toEqual([])
  })
})

describe('paths', () => {
  test('reach the system as bytes: through store/os-files.ts', () => {
    const wrapped = new Map([
      ['node:fs', exportsOf('store/os-files.ts')],
      ['node:fs/promises', exportsOf('store/os-files-async.ts')],
    ])
    const direct = [...textOf]
      .filter(([file]) => !file.startsWith('store/os-files') && !TYPES_NO_PATHS.test(file))
      .flatMap(([file, text]) =>
        [...text.matchAll(/import \{([^}]*)\} from '(node:fs(?:\/promises)?)'/g)].flatMap(
          ([, names = '', from = '']) =>
            names
              .split(',')
              .map(name => name.trim().split(' ')[0] ?? '')
              .filter(name => wrapped.get(from)?.has(name))
              .map(name => `${file}: ${name}`),
        ),
      )
    expect(direct).toEqual([])
  })

  test('reach SQLite through store/sqlite-name.ts', () => {
    const direct = [...textOf].flatMap(([file, text]) =>
      file.startsWith('scripts/bench/') || !text.includes("from 'better-sqlite3'")
        ? []
        : [...text.matchAll(/new Database\((?!sqliteName\(|''|':memory:'|\w+Uri\(|name,|bytes\)|$)/gm)].map(
            () => file,
          ),
    )
    expect(direct).toEqual([])
  })
})

const packageOf = (imported: string): string =>
  imported
    .split('/')
    .slice(0, imported.startsWith('@') ? 2 : 1)
    .join('/')

const exportsOf = (file: string): ReadonlySet<string> =>
  new Set([...(textOf.get(file) ?? '').matchAll(/^export const (\w+)/gm)].map(([, name]) => name ?? ''))

describe('branded ids', () => {
  test.each(Object.entries(CONSTRUCTORS))('%s is cast in %s only', (brand, home) => {
    // Also as a part of a type: `as readonly Tid[]`, `as Map<Oid, Tid>`, `as unknown as Tid`.
    const pattern = new RegExp(
      `\\bas (?:unknown as |readonly |\\[|\\(|(?:Readonly)?(?:Map|Set|Array|Iterable)<|\\w+, )*${brand}\\b`,
    )
    const casting = [...textOf, ...textsOf(filesOf('test').filter(file => file !== SELF))]
      .filter(([, text]) => pattern.test(text))
      .map(([file]) => file)
    expect(casting).toEqual([home])
  })
})

describe('suppressions of the linter', () => {
  test('say why', () => {
    const lines = [...textOf].flatMap(([file, text]) =>
      text
        .split('\n')
        .flatMap(line => (/(?:ox|es)lint-disable/.test(line) ? [`${file}: ${line.trim()}`] : [])),
    )
    expect(lines.filter(line => !/ -- \w+/.test(line))).toEqual([])
    const above = lines.filter(line => line.includes('see above')).map(line => line.split(':')[0] ?? '')
    const withoutReason = above.filter(
      file => !/^\/\*\*[^]*?\b[Ll]onger than\b[^]*?\*\//.test(textOf.get(file) ?? ''),
    )
    expect(withoutReason).toEqual([])
  })

  test('are the only way around the rules of types', () => {
    const using = [...textOf].filter(([, text]) => /@ts-(?:ignore|nocheck|expect-error)/.test(text))
    expect(using.map(([file]) => file)).toEqual([])
  })
})

describe('errors', () => {
  test('have a code and a kind if they leave their layer', () => {
    const classes = [...textOf].flatMap(([, text]) =>
      [...text.matchAll(/class (\w+) extends (?:Type|Range)?Error\b/g)].map(([, name]) => name),
    )
    expect(new Set(classes)).toEqual(new Set(Object.keys(UNCODED)))
  })
})

/** One line for each group of files that import one another. */
function cycles(): string[] {
  const indexes = new Map<string, number>()
  const lows = new Map<string, number>()
  const stack: string[] = []
  const found: string[] = []
  const visit = (file: string): number => {
    const index = indexes.size
    indexes.set(file, index)
    stack.push(file)
    let low = index
    for (const imported of importsOf.get(file) ?? []) {
      const seen = indexes.get(imported)
      if (seen === undefined) low = Math.min(low, importsOf.has(imported) ? visit(imported) : low)
      else if (stack.includes(imported)) low = Math.min(low, lows.get(imported) ?? seen)
    }
    lows.set(file, low)
    if (low === index) {
      const group = stack.splice(stack.indexOf(file))
      if (group.length > 1) found.push(group.sort().join(', '))
    }
    return low
  }
  for (const file of files) if (!indexes.has(file)) visit(file)
  return found
}
