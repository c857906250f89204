/** The XML of WebDAV requests: what is read of it, and that hostile bodies cost little. */
import { expect, test } from 'vitest'
import { propertiesIn } from '../../../scripts/serve/webdav/xml.ts'

const nested = (depth: number): string => '<a>'.repeat(depth) + '</a>'.repeat(depth)

test('prefixes are those of the enclosing elements', () => {
  const body = '<D:prop xmlns:D="DAV:" xmlns="urn:d"><D:a/><b/><c:c xmlns:c="urn:c">text</c:c><D:e/></D:prop>'
  expect(propertiesIn(body)).toEqual([
    { namespace: 'DAV:', name: 'a', text: '' },
    { namespace: 'urn:d', name: 'b', text: '' },
    { namespace: 'urn:c', name: 'c', text: 'text' },
    { namespace: 'DAV:', name: 'e', text: '' },
  ])
})

test('elements nest up to a bound', () => {
  expect(propertiesIn(nested(64))).toEqual([])
  expect(propertiesIn(nested(65))).toBeUndefined()
})

test('many elements share the prefixes of the enclosing one', () => {
  const declarations = Array.from({ length: 20_000 }, (_, i) => ` xmlns:p${i}=''`).join('')
  const startedMs = performance.now()
  expect(propertiesIn(`<a${declarations}>${'<b/>'.repeat(20_000)}</a>`)).toEqual([])
  expect(performance.now() - startedMs).toBeLessThan(2000)
})
