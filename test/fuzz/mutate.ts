/** Changes of bytes that get past the first checks more often than random bytes would. */
import type { Random } from '../stress/random.ts'

/** Counts, flags and opcodes of pickles at their limits. */
const TELLING = [
  0, 1, 2, 0x20, 0x28, 0x2e, 0x4a, 0x51, 0x55, 0x58, 0x63, 0x70, 0x71, 0x75, 0x7f, 0x80, 0x8a, 0xff,
]

/** One of `values`. */
export function pick<T>(random: Random, values: readonly T[]): T {
  const value = values[random.below(values.length)]
  if (value === undefined) throw new Error('nothing to choose from')
  return value
}

/** Changes, cuts, repeats and swaps stretches of bytes in up to five places, from `start` on. */
export function mutate(bytes: Uint8Array, random: Random, start = 0): Buffer {
  let changed = Buffer.from(bytes)
  for (let count = 1 + random.below(5); count > 0 && changed.length > start; count--) {
    const at = start + random.below(changed.length - start)
    const length = random.below(Math.min(300, changed.length - at) + 1)
    const how = random.below(12)
    if (how < 6) changed[at] = pick(random, TELLING)
    else if (how < 8) changed[at] = random.below(256)
    else if (how === 8) changed = changed.subarray(0, at)
    else if (how === 9) changed = Buffer.concat([changed.subarray(0, at + length), changed.subarray(at)])
    else if (how === 10) changed = Buffer.concat([changed.subarray(0, at), changed.subarray(at + length)])
    else changed.copy(changed, start + random.below(changed.length - start), at, at + length)
  }
  return changed
}
