import { PassThrough } from 'node:stream'
import { expect, test } from 'vitest'
import { drained } from '../../scripts/drained.ts'

test('waiting leaves no listener behind', async () => {
  const stream = new PassThrough({ highWaterMark: 1 })
  const counts = (): readonly number[] =>
    ['drain', 'close', 'error'].map(event => stream.listenerCount(event))
  const before = counts()
  for (let i = 0; i < 20; i++) {
    expect(stream.write('more than one byte')).toBe(false)
    setImmediate(() => stream.read())
    await drained(stream)
    expect(counts()).toEqual(before)
  }
})

test('it resolves for a stream that takes more, or is closed, and rejects with its error', async () => {
  const stream = new PassThrough({ highWaterMark: 1 })
  await drained(stream)
  stream.write('more than one byte')
  setImmediate(() => stream.destroy())
  await drained(stream)
  await drained(stream)
  const failing = new PassThrough({ highWaterMark: 1 })
  failing.write('more than one byte')
  setImmediate(() => failing.destroy(new Error('broken')))
  await expect(drained(failing)).rejects.toThrow('broken')
})
