import { expect, test } from 'vitest'
import { formatBytes, parseSizeBytes } from '../../scripts/units.ts'

test.each([
  ['0', 0],
  ['4096', 4096],
  ['64M', 64 << 20],
  ['64 MiB', 64 << 20],
  ['1.5g', 1.5 * 2 ** 30],
  ['2T', 2 * 2 ** 40],
  ['10kb', 10_240],
])('the size %s is %d bytes', (text, bytes) => {
  expect(parseSizeBytes(text)).toBe(bytes)
})

test.each(['', 'M', '-1', '64X', '1e3', '64 M B', '99999999T', '1,5G'])('%j is not a size', text => {
  expect(parseSizeBytes(text)).toBeUndefined()
})

test.each([
  [0, '0 B'],
  [1023, '1023 B'],
  [1536, '1.5 KiB'],
  [200 << 20, '200 MiB'],
  [5 * 2 ** 40, '5.0 TiB'],
])('%d bytes are shown as %s', (bytes, text) => {
  expect(formatBytes(bytes)).toBe(text)
})
