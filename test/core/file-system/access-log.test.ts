/** The queues of the access log's readers. */
import { expect, test, vi } from 'vitest'
import { AccessLog } from '../../../core/file-system/access-log.ts'
import { ROOT_INO } from '../../../core/file-system/operations.ts'

const caller = { uid: 1, gid: 1, pid: 1 }
const newLog = (): AccessLog => new AccessLog({ pathOf: () => 'file', isLeftOut: () => false })
const log = (to: AccessLog, count: number): void => {
  for (let i = 0; i < count; i++)
    to.answered({ operation: 'read', ino: ROOT_INO, caller, parameters: `number=${i}` }, 0, 0)
}

test('a reader that is slow copies each byte once, and gets every line', async () => {
  const accessLog = newLog()
  const reader = accessLog.open()
  log(accessLog, 15_000)
  let copied = 0
  // oxlint-disable-next-line typescript/unbound-method
  const { concat } = Buffer
  const spy = vi.spyOn(Buffer, 'concat').mockImplementation(list => {
    const all = concat(list)
    copied += all.length
    return all
  })
  const parts: Uint8Array[] = []
  accessLog.close()
  for (;;) {
    const part = await reader.read(1000)
    if (part.length === 0) break
    expect(part.length).toBeLessThanOrEqual(1000)
    parts.push(part)
  }
  spy.mockRestore()
  const text = Buffer.concat(parts).toString()
  expect(copied).toBe(text.length)
  expect(text.match(/number=\d+/g)).toEqual(Array.from({ length: 15_000 }, (_, i) => `number=${i}`))
})

test('the memory of short lines counts, and dropped lines are reported', async () => {
  const accessLog = newLog()
  const reader = accessLog.open()
  log(accessLog, 60_000)
  accessLog.close()
  let text = ''
  for (let part = await reader.read(1 << 20); part.length > 0; part = await reader.read(1 << 20))
    text += Buffer.from(part).toString()
  const lines = text.split('\n').length
  expect(lines * 100 + text.length).toBeLessThan((4 << 20) + 1000)
  expect(lines).toBeGreaterThan(10_000)
})

test('there are at most 16 readers', () => {
  const accessLog = newLog()
  const readers = Array.from({ length: 16 }, () => accessLog.open())
  expect(() => accessLog.open()).toThrow('too many readers')
  readers[3]?.close()
  accessLog.open()
})
