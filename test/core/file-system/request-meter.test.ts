import { constants } from 'node:os'
import { expect, test } from 'vitest'
import { AccessLog } from '../../../core/file-system/access-log.ts'
import { OPERATION_NUMBER } from '../../../core/file-system/operation-names.ts'
import { ino } from '../../../core/file-system/operations.ts'
import { BUCKET_BOUNDS_SECONDS, RequestMeter } from '../../../core/file-system/request-meter.ts'

const { read, lookup, getattr, getxattr, removexattr, seek, unlink } = OPERATION_NUMBER
const { ENOENT, ENODATA, ENXIO, EIO } = constants.errno

test.each([
  [0, 0],
  [0.0159, 0],
  [0.016, 1],
  [0.0319, 1],
  [0.032, 2],
  [1, 6],
  [16_777, 20],
  [16_778, 21],
  [1e12, 21],
])('a latency of %d ms is in bucket %d', (elapsedMs, bucket) => {
  const meter = new RequestMeter()
  meter.answered(read, elapsedMs, 0)
  const { buckets = [] } = meter.requests()['read'] ?? {}
  expect(buckets.indexOf(1)).toBe(bucket)
  expect(elapsedMs / 1000).toBeLessThan(BUCKET_BOUNDS_SECONDS[bucket] ?? Infinity)
  if (bucket > 0)
    expect(elapsedMs / 1000).toBeGreaterThanOrEqual(BUCKET_BOUNDS_SECONDS[bucket - 1] ?? Infinity)
})

test('errors are counted by operation and by name', () => {
  const meter = new RequestMeter()
  meter.answered(read, 1, 0)
  meter.answered(read, 3, 5)
  expect(meter.requests()).toMatchObject({ read: { count: 2, errors: 1, totalMs: 4 } })
  expect(meter.errors()).toEqual({ EIO: 1 })
})

test.each([
  ['a name that does not exist', lookup, ENOENT, 0],
  ['a path that does not exist', getattr, ENOENT, 0],
  ['an attribute that does not exist', getxattr, ENODATA, 0],
  ['no more data', seek, ENXIO, 0],
  ['removing a name that does not exist', unlink, ENOENT, 1],
  ['removing an attribute that does not exist', removexattr, ENODATA, 1],
  ['damage in a lookup', lookup, EIO, 1],
])('%s: operation %d, errno %d counts as %d errors', (_what, operation, errno, errors) => {
  const meter = new RequestMeter()
  meter.answered(operation, 1, errno)
  expect(Object.values(meter.requests())).toMatchObject([{ count: 1, errors }])
  expect(Object.keys(meter.errors())).toHaveLength(errors)
})

const caller = { uid: 1, gid: 2, pid: 3 }

test('a slow reader of the access log loses lines, and gets their number', async () => {
  const log = new AccessLog({ pathOf: () => 'dir', isLeftOut: () => false })
  expect(log.isOn).toBe(false)
  const slow = log.open()
  expect(log.isOn).toBe(true)
  const request = { operation: 'lookup', ino: ino(7), caller, name: 'x'.repeat(200) }
  for (let i = 0; i < 20_000; i++) log.answered(request, 0.5, 2)
  const first = Buffer.from(await slow.read(8 << 20)).toString()
  expect(first.length).toBeLessThan(5 << 20)
  const line = /^\S+ uid=1 gid=2 pid=3 lookup "\/dir\/x{200}" ENOENT 0\.000500$/
  const lines = first.trimEnd().split('\n')
  expect(lines.at(-1)).toMatch(line)
  log.answered(request, 0.5, 0)
  const next = Buffer.from(await slow.read(8 << 20)).toString()
  expect(next).toContain(`# ${20_000 - lines.length} lines were dropped`)
  slow.close()
  expect(log.isOn).toBe(false)
})

test('a read of the access log waits for a line, takes parts of lines, and ends when the log is closed', async () => {
  const log = new AccessLog({ pathOf: () => undefined, isLeftOut: of => of === 9 })
  const reader = log.open()
  const waiting = reader.read(10)
  log.answered({ operation: 'open', ino: ino(9), caller }, 0, 0)
  log.answered({ operation: 'open', ino: ino(8), caller, parameters: 'a=b' }, 0, 0)
  const text = Buffer.concat([await waiting, await reader.read(1000)]).toString()
  expect(text).toMatch(/pid=3 open ino=8 a=b OK 0\.000000\n$/)
  const last = reader.read(10)
  log.close()
  expect(await last).toHaveLength(0)
  expect(await log.open().read(10)).toHaveLength(0)
})
