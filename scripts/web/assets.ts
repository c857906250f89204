/** The page, its modules and those of the libraries it uses. In a checkout types are stripped when a module is served. */
import { readFile } from 'node:fs/promises'
import * as module from 'node:module'
import { basename, join } from 'node:path'

interface Asset {
  readonly type: string
  readonly content: Buffer | string
}

const JAVASCRIPT = 'text/javascript; charset=utf-8'
const CSS = 'text/css; charset=utf-8'

const isCheckout = import.meta.filename.endsWith('.ts')
const MODULES = join(import.meta.dirname, 'page')
/** The style sheet is not compiled: a package has it beside dist/. */
const STYLES = isCheckout ? MODULES : join(import.meta.dirname, '../../../scripts/web/page')

/** By their names in the page: a package and a file in it. */
const LIBRARIES: Readonly<
  Record<string, { readonly from: string; readonly file: string; readonly type: string }>
> = {
  'preact.js': { from: 'preact', file: 'dist/preact.mjs', type: JAVASCRIPT },
  'hooks.js': { from: 'preact', file: 'hooks/dist/hooks.mjs', type: JAVASCRIPT },
  'htm.js': { from: 'htm', file: 'dist/htm.module.js', type: JAVASCRIPT },
  'htm-preact.js': { from: 'htm', file: 'preact/index.module.js', type: JAVASCRIPT },
  'uplot.js': { from: 'uplot', file: 'dist/uPlot.esm.js', type: JAVASCRIPT },
  'uplot.css': { from: 'uplot', file: 'dist/uPlot.min.css', type: CSS },
}

const IMPORTS = {
  preact: './lib/preact.js',
  'preact/hooks': './lib/hooks.js',
  htm: './lib/htm.js',
  'htm/preact': './lib/htm-preact.js',
  uplot: './lib/uplot.js',
}

const { resolve } = module.createRequire(import.meta.url)

/** The directory of a package. */
function packageOf(name: string): string {
  const directory = join('node_modules', name)
  const entry = resolve(name)
  return entry.slice(0, entry.lastIndexOf(directory) + directory.length)
}

/** A file of the page; undefined if there is none of that name. */
export async function asset(area: 'app' | 'lib', name: string): Promise<Asset | undefined> {
  if (area === 'lib') {
    const library = LIBRARIES[name]
    if (library === undefined) return undefined
    return { type: library.type, content: await readFile(join(packageOf(library.from), library.file)) }
  }
  if (name !== basename(name) || !/^[a-z-]+\.(ts|js|css)$/.test(name)) return undefined
  if (name.endsWith('.css')) return { type: CSS, content: await readFile(join(STYLES, name)) }
  const source = await readFile(join(MODULES, name), 'utf8').catch(() => undefined)
  if (source === undefined) return undefined
  return { type: JAVASCRIPT, content: isCheckout ? module.stripTypeScriptTypes(source) : source }
}

/** @param nonce permits the only inline script, the import map. */
export const page = (nonce: string): string => `<!doctype html>
<html lang="en">
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<title>zblkfs</title>
<link rel="icon" href="data:,">
<link rel="stylesheet" href="lib/uplot.css">
<link rel="stylesheet" href="app/style.css">
<script type="importmap" nonce="${nonce}">${JSON.stringify({ imports: IMPORTS })}</script>
<script type="module" src="app/main.${isCheckout ? 'ts' : 'js'}"></script>
<body><noscript>This page needs JavaScript.</noscript></body>
</html>
`
