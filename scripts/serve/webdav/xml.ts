/** The little XML of WebDAV: names of properties in a request, and text in an answer. */

/** A property: its namespace and its name in it. */
export interface PropertyName {
  readonly namespace: string
  readonly name: string
}

export interface RequestedProperty extends PropertyName {
  /** Its text; for PROPPATCH. */
  readonly text: string
}

const ELEMENT =
  /<(\/?)([\w.-]+(?::[\w.-]+)?)((?:\s+[\w:.-]+\s*=\s*(?:"[^"]*"|'[^']*'))*)\s*(\/?)>|([^<]+)|<[?!][^>]*>/gu
/** Elements within each other. */
const DEPTH_MAX = 64

const NAMESPACE = /xmlns(?::([\w.-]+))?\s*=\s*(?:"([^"]*)"|'([^']*)')/g

interface Open {
  readonly namespace: string
  readonly local: string
  readonly prefixes: ReadonlyMap<string, string>
}

/**
 * The properties within the `prop` elements of a request's body; undefined if it is not well-formed. Entities are not expanded.
 */
export function propertiesIn(body: string): readonly RequestedProperty[] | undefined {
  const open: Open[] = []
  const found: { namespace: string; name: string; text: string }[] = []
  let end = 0
  for (const match of body.matchAll(ELEMENT)) {
    if (match.index !== end) return undefined
    end = match.index + match[0].length
    const [, slash, qualified, attributes = '', closing, text] = match
    const parent = open.at(-1)
    if (text !== undefined) {
      const property = found.at(-1)
      if (property !== undefined && open.at(-2)?.local === 'prop') property.text += text
      continue
    }
    if (qualified === undefined) continue
    if (slash === '/') {
      if (open.pop() === undefined) return undefined
      continue
    }
    const element = opened(qualified, attributes, parent)
    if (parent?.local === 'prop' && parent.namespace === 'DAV:')
      found.push({ namespace: element.namespace, name: element.local, text: '' })
    if (closing === '/') continue
    if (open.length === DEPTH_MAX) return undefined
    open.push(element)
  }
  return end === body.length && open.length === 0 ? found : undefined
}

function opened(qualified: string, attributes: string, parent: Open | undefined): Open {
  let prefixes = parent?.prefixes ?? new Map<string, string>()
  const declared = [...attributes.matchAll(NAMESPACE)]
  if (declared.length > 0)
    prefixes = new Map([
      ...prefixes,
      ...declared.map(([, prefix = '', double, single]) => [prefix, double ?? single ?? ''] as const),
    ])
  const colon = qualified.indexOf(':')
  const prefix = colon < 0 ? '' : qualified.slice(0, colon)
  return { namespace: prefixes.get(prefix) ?? '', local: qualified.slice(colon + 1), prefixes }
}

/** Text for an element or an attribute. */
export const escapeXml = (text: string): string =>
  text
    .replaceAll(/[&<>"']/g, character => `&#${character.charCodeAt(0)};`)
    // Characters that XML 1.0 does not have.
    .replaceAll(/[^\t\n\r\u{20}-\u{d7ff}\u{e000}-\u{fffd}\u{10000}-\u{10ffff}]/gu, '\u{fffd}')
