/** The session answers any input from the device once or not at all, and continues. */
import * as fc from 'fast-check'
import { expect, test } from 'vitest'
import { MemoryOperations } from '../../../tools/memory-operations.ts'
import { FakeKernel, u32, u64 } from './fake-kernel.ts'

const seed = Number(process.env['FUZZ_SEED'] ?? Date.now() % 2 ** 31)

/** FORGET, INTERRUPT, BATCH_FORGET. */
const UNANSWERED: ReadonlySet<number> = new Set([2, 36, 42])

const opcode = fc.oneof(fc.integer({ min: 0, max: 60 }), fc.nat())
const body = fc.oneof(
  fc.uint8Array({ maxLength: 200 }),
  // Small numbers and names: what gets past the first checks.
  fc
    .tuple(fc.array(fc.integer({ min: 0, max: 3 }), { maxLength: 16 }), fc.stringMatching(/^[a-c./\0]{0,8}$/))
    .map(([numbers, text]) => Buffer.concat([u32(...numbers), Buffer.from(`${text}\0`, 'latin1')])),
)

test(`random requests never end or confuse a session (FUZZ_SEED=${seed})`, async () => {
  const kernel = new FakeKernel(new MemoryOperations())
  await kernel.init()
  const waiting = new Set<number>()
  await fc.assert(
    fc.asyncProperty(
      fc.array(fc.tuple(opcode, fc.nat({ max: 4 }), body), { maxLength: 20 }),
      async requests => {
        for (const [opcode, nodeid, body] of requests) {
          const unique = kernel.send(opcode, nodeid, body)
          if (!UNANSWERED.has(opcode)) waiting.add(unique)
        }
        const last = kernel.send(3, 1, Buffer.concat([u32(0, 0), u64(0)]))
        for (;;) {
          const answer = await kernel.receive()
          if (answer.unique === last) {
            expect(answer.error).toBe(0)
            break
          }
          expect(waiting.delete(answer.unique)).toBe(true)
          expect(answer.error).toBeLessThanOrEqual(0)
          expect(answer.error).toBeGreaterThan(-1000)
        }
      },
    ),
    { seed, numRuns: 500 },
  )
  while (waiting.size > 0) expect(waiting.delete((await kernel.receive()).unique)).toBe(true)
  await kernel.close()
})

test(`bytes that are not a request are dropped with a log line (FUZZ_SEED=${seed})`, async () => {
  const kernel = new FakeKernel(new MemoryOperations())
  await kernel.init()
  await fc.assert(
    fc.asyncProperty(fc.uint8Array({ minLength: 1, maxLength: 100 }), async bytes => {
      kernel.sendRaw(bytes)
      expect((await kernel.call(3, 1, Buffer.concat([u32(0, 0), u64(0)]))).error).toBe(0)
    }),
    { seed, numRuns: 200 },
  )
  expect(kernel.logged.some(line => line.includes('a request without a usable header'))).toBe(true)
  await kernel.close()
})
