/**
 * The URL of a module next to the importing one, for a worker thread. It has the importing module's extension, so this
 * works from source and compiled.
 * @param importer its `import.meta.url`.
 */
export const siblingModule = (name: string, importer: string): URL =>
  new URL(`./${name}${importer.slice(importer.lastIndexOf('.'))}`, importer)
