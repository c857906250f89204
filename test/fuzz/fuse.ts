/** FUSE messages: a real filesystem behind the kernel driver, which gets requests that a kernel could send, and many that it would not. */
import { FileSystem } from '../../core/file-system/file-system.ts'
import { FakeKernel, names, u32, u64 } from '../mount/drivers/kernel/fake-kernel.ts'
import type { Random } from '../stress/random.ts'
import { TestStore } from '../tools/test-store.ts'
import type { Fuzzer } from './kinds.ts'
import { mutate, pick } from './mutate.ts'

/** FORGET, INTERRUPT, BATCH_FORGET are not answered. INIT and DESTROY would begin or end the session. */
const UNANSWERED: ReadonlySet<number> = new Set([2, 36, 42])
const NEVER: ReadonlySet<number> = new Set([26, 38])
const GETATTR = 3
const REQUESTS = 40
const NAMES = [
  'a',
  'b',
  'dir',
  '.',
  '..',
  '',
  '@now',
  '.zblkfs',
  'a/b',
  'n'.repeat(300),
  '\x1b[2J',
  'user.x',
  'trusted.y',
]
const NUMBERS = [
  0, 1, 2, 3, 4095, 4096, 65_536, 0xffff, 0x7fff_ffff, 0xffff_ffff, 0o100644, 0o40755, 0o120777,
]

export async function fuseFuzzer(): Promise<Fuzzer> {
  const fs = await FileSystem.open(new TestStore({ hasIntents: true }), {
    dirtySizeBytes: 8 << 20,
    commitIntervalMs: 50,
  })
  const kernel = new FakeKernel(fs)
  await kernel.init()
  return {
    async round(random) {
      const waiting = new Set<number>()
      for (let count = random.below(REQUESTS); count > 0; count--) {
        if (random.below(20) === 0) {
          kernel.sendRaw(
            mutate(Buffer.concat([u32(44, 1), u64(2, 1), u32(0, 0, 0, 0)]), random).subarray(0, 200),
          )
          continue
        }
        const opcode = random.below(60)
        if (NEVER.has(opcode)) continue
        const unique = kernel.send(opcode, random.below(6), body(random))
        if (!UNANSWERED.has(opcode)) waiting.add(unique)
      }
      const last = kernel.send(GETATTR, 1, Buffer.concat([u32(0, 0), u64(0)]))
      waiting.add(last)
      // Locks that wait for others, and INTERRUPTs, may answer late: what must come is the answer to the last one.
      for (let unique = 0; unique !== last;) {
        const answer = await kernel.receive()
        // Notifications have no number.
        if (answer.unique === 0) continue
        // A message of random bytes may have had the number of a request.
        unique = answer.unique
        if (answer.error > 0 || answer.error < -1000) throw new Error(`errno ${answer.error}`)
        if (unique === last && answer.error !== 0) throw new Error(`the root cannot be read: ${answer.error}`)
      }
      const logged = kernel.logged.splice(0).find(line => /RangeError|TypeError|ReferenceError/.test(line))
      if (logged !== undefined) throw new Error(logged)
    },
    async close() {
      await kernel.close()
      await fs.close()
    },
  }
}

function body(random: Random): Buffer {
  const parts: Uint8Array[] = []
  for (let count = random.below(8); count > 0; count--)
    parts.push(
      random.below(3) === 0
        ? u64(BigInt(pick(random, NUMBERS)) << BigInt(random.below(33)))
        : u32(pick(random, NUMBERS)),
    )
  for (let count = random.below(3); count > 0; count--) parts.push(names(pick(random, NAMES)))
  const whole = Buffer.concat(parts)
  return random.below(4) === 0 ? mutate(whole, random) : whole
}
