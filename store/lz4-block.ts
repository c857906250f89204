/**
 * The LZ4 block format in TypeScript, for machines without the library (lz4.ts): a database can be read and written everywhere.
 *
 * A block is a sequence of: a token, literals, and a match, which repeats earlier bytes of the output. The last sequence has literals only.
 *
 * | in a sequence | is                                                                                                        |
 * |---------------|-----------------------------------------------------------------------------------------------------------|
 * | 1 byte        | the token: the number of literals (high 4 bits), the length of the match less 4 (low 4 bits)              |
 * | bytes         | if the number is 15: bytes that are added to it, up to the first that is not 255                          |
 * | bytes         | the literals                                                                                              |
 * | 2 bytes       | the distance of the match, little-endian, 1 to 65535                                                      |
 * | bytes         | if the length in the token is 15: bytes that are added to it, up to the first that is not 255             |
 *
 * The last 5 bytes are literals, and the last match begins 12 bytes before the end or earlier.
 */
import type { BlockCodec } from './compression.ts'

const LEAST_MATCH = 4
const LAST_LITERALS = 5
const LAST_MATCH_START = 12
const LONGEST_DISTANCE = 0xff_ff
/** A length in a token that continues in the bytes after it. */
const CONTINUED = 15

const HASH_BITS = 12
/** Where each hash of 4 bytes was seen last, plus 1. */
const seen = new Uint32Array(1 << HASH_BITS)

/** At places without a match the step grows by one after this many of them (a power of two), times the acceleration. */
const STEP_SHIFT = 6

const wordAt = (bytes: Uint8Array, at: number): number =>
  (bytes[at] ?? 0) | ((bytes[at + 1] ?? 0) << 8) | ((bytes[at + 2] ?? 0) << 16) | ((bytes[at + 3] ?? 0) << 24)

/** Writes the rest of a length that does not fit into the token; returns the end. */
function writeLength(into: Uint8Array, at: number, length: number): number {
  let [to, rest] = [at, length - CONTINUED]
  for (; rest >= 255; rest -= 255) into[to++] = 255
  into[to++] = rest
  return to
}

/** Writes literals, and a match of `length` bytes; 0 for the last sequence, which has none. Returns the end; 0 if there is no room. */
function writeSequence(
  into: Uint8Array,
  at: number,
  literals: Uint8Array,
  distance: number,
  length: number,
): number {
  const [count, matched] = [literals.length, length === 0 ? 0 : length - LEAST_MATCH]
  const most = 1 + Math.floor(count / 255) + 1 + count + (length === 0 ? 0 : 3 + Math.floor(matched / 255))
  if (at + most > into.length) return 0
  into[at] = (Math.min(count, CONTINUED) << 4) | Math.min(matched, CONTINUED)
  let to = count < CONTINUED ? at + 1 : writeLength(into, at + 1, count)
  into.set(literals, to)
  to += count
  if (length === 0) return to
  into[to++] = distance & 0xff
  into[to++] = distance >> 8
  return matched < CONTINUED ? to : writeLength(into, to, matched)
}

/** Not reentrant. */
function compress(from: Uint8Array, into: Uint8Array, acceleration: number): number {
  seen.fill(0)
  const lastStart = from.length - LAST_MATCH_START
  const matchEnd = from.length - LAST_LITERALS
  let [to, anchor] = [0, 0]
  for (let at = 0, tries = acceleration << STEP_SHIFT; at <= lastStart;) {
    const word = wordAt(from, at)
    const hash = Math.imul(word, 0x9e_37_79_b1) >>> (32 - HASH_BITS)
    const start = (seen[hash] ?? 0) - 1
    seen[hash] = at + 1
    if (start < 0 || at - start > LONGEST_DISTANCE || wordAt(from, start) !== word) {
      at += tries++ >> STEP_SHIFT
      continue
    }
    let length = LEAST_MATCH
    while (at + length < matchEnd && from[start + length] === from[at + length]) length++
    to = writeSequence(into, to, from.subarray(anchor, at), at - start, length)
    if (to === 0) return 0
    at += length
    anchor = at
    tries = acceleration << STEP_SHIFT
  }
  return writeSequence(into, to, from.subarray(anchor), 0, 0)
}

function expand(from: Uint8Array, into: Uint8Array): boolean {
  for (let at = 0, to = 0; ;) {
    const token = from[at++]
    if (token === undefined) return false
    let literals = token >> 4
    if (literals === CONTINUED)
      for (let more = 255; more === 255; literals += more) {
        more = from[at++] ?? -1
        if (more < 0) return false
      }
    if (at + literals > from.length || to + literals > into.length) return false
    for (const end = at + literals; at < end;) into[to++] = from[at++] ?? 0
    if (at === from.length) return to === into.length
    if (at + 2 > from.length || to > into.length - LAST_MATCH_START) return false
    const distance = (from[at] ?? 0) | ((from[at + 1] ?? 0) << 8)
    at += 2
    if (distance === 0 || distance > to) return false
    let length = token & CONTINUED
    if (length === CONTINUED)
      for (let more = 255; more === 255; length += more) {
        more = from[at++] ?? -1
        if (more < 0) return false
      }
    const end = to + length + LEAST_MATCH
    if (end > into.length - LAST_LITERALS) return false
    // A match may overlap what it writes.
    for (let source = to - distance; to < end;) into[to++] = into[source++] ?? 0
  }
}

export const typescriptLz4: BlockCodec = {
  compress,
  // Runs on the calling thread: only the library has a threaded path.
  compressAsync: async (from, into, level) => compress(from, into, level),
  expand,
}
