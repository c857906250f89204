/**
 * The URL of a module beside the one that asks, for a worker thread: `name` has the extension that the asking module has,
 * whether it runs from source or compiled.
 * @param importer its `import.meta.url`.
 */
export const siblingModule = (name: string, importer: string): URL =>
  new URL(`./${name}${importer.slice(importer.lastIndexOf('.'))}`, importer)
