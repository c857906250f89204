/** The properties of files in answers to PROPFIND and PROPPATCH. */
import type { Stats } from '../../../core/database/stats.ts'
import type { Lock } from './locks.ts'
import { escapeXml, type PropertyName } from './xml.ts'

const DAV = 'DAV:'

/** A resource that exists. */
export interface Resource {
  readonly href: string
  readonly name: string
  readonly stats: Stats
  readonly lock: Lock | undefined
}

/** Changes with every change of the file's bytes. */
export const etagOf = ({ ino, mtimeNs, sizeExact }: Stats): string =>
  `"${ino.toString(16)}-${mtimeNs.toString(16)}-${sizeExact.toString(16)}"`

const SUPPORTED_LOCK =
  '<D:lockentry><D:lockscope><D:exclusive/></D:lockscope><D:locktype><D:write/></D:locktype></D:lockentry>'

/** The value of each property, as XML. */
const VALUES: Readonly<Record<string, (resource: Resource) => string | undefined>> = {
  displayname: ({ name }) => escapeXml(name),
  resourcetype: ({ stats }) => (stats.isDirectory() ? '<D:collection/>' : ''),
  getcontentlength: ({ stats }) => (stats.isDirectory() ? undefined : String(stats.sizeExact)),
  getlastmodified: ({ stats }) => stats.mtime.toUTCString(),
  creationdate: ({ stats }) => stats.birthtime.toISOString(),
  getetag: ({ stats }) => (stats.isDirectory() ? undefined : escapeXml(etagOf(stats))),
  getcontenttype: ({ stats }) => (stats.isDirectory() ? undefined : 'application/octet-stream'),
  supportedlock: () => SUPPORTED_LOCK,
  lockdiscovery: ({ lock }) => (lock === undefined ? '' : lockXml(lock)),
}

export const lockXml = ({ token, href, owner, timeoutSeconds }: Lock): string =>
  '<D:activelock><D:locktype><D:write/></D:locktype><D:lockscope><D:exclusive/></D:lockscope>' +
  `<D:depth>infinity</D:depth><D:owner>${escapeXml(owner)}</D:owner><D:timeout>Second-${timeoutSeconds}</D:timeout>` +
  `<D:locktoken><D:href>${token}</D:href></D:locktoken>` +
  `<D:lockroot><D:href>${escapeXml(href)}</D:href></D:lockroot></D:activelock>`

/** The `response` of a resource: the requested properties, or all if none are requested. */
export function responseXml(resource: Resource, asked: readonly PropertyName[]): string {
  const names = asked.length === 0 ? Object.keys(VALUES).map(name => ({ namespace: DAV, name })) : asked
  const found: string[] = []
  const missing: string[] = []
  for (const { namespace, name } of names) {
    const make = namespace === DAV && Object.hasOwn(VALUES, name) ? VALUES[name] : undefined
    const value = make?.(resource)
    if (value !== undefined) found.push(`<D:${name}>${value}</D:${name}>`)
    else if (asked.length > 0) missing.push(emptyElement({ namespace, name }))
  }
  return (
    `<D:response><D:href>${escapeXml(resource.href)}</D:href>` +
    `${propstat(found, '200 OK')}${propstat(missing, '404 Not Found')}</D:response>`
  )
}

/** The `response` to PROPPATCH. */
export const patchedXml = (
  href: string,
  set: readonly PropertyName[],
  refused: readonly PropertyName[],
): string =>
  `<D:response><D:href>${escapeXml(href)}</D:href>` +
  `${propstat(set.map(emptyElement), '200 OK')}${propstat(refused.map(emptyElement), '403 Forbidden')}</D:response>`

/** The body that has the `response` of each resource. */
export async function* multistatus(
  responses: AsyncIterable<string> | Iterable<string>,
): AsyncGenerator<string> {
  yield '<?xml version="1.0" encoding="utf-8"?>\n<D:multistatus xmlns:D="DAV:">'
  for await (const response of responses) yield `${response}\n`
  yield '</D:multistatus>\n'
}

const emptyElement = ({ namespace, name }: PropertyName): string =>
  namespace === DAV ? `<D:${name}/>` : `<x:${name} xmlns:x="${escapeXml(namespace)}"/>`

const propstat = (properties: readonly string[], status: string): string =>
  properties.length === 0
    ? ''
    : `<D:propstat><D:prop>${properties.join('')}</D:prop><D:status>HTTP/1.1 ${status}</D:status></D:propstat>`
