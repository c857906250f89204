/** Numbers in the protocol's structures for which DataView has no setter. */

/** Stores a non-negative safe integer as 64 bits. */
export function setU64(view: DataView, at: number, value: number): void {
  view.setUint32(at, value >>> 0, true)
  view.setUint32(at + 4, Math.floor(value / 2 ** 32), true)
}

const NS_PER_SECOND = 1_000_000_000n

/** Whole seconds, rounded down, and the nanoseconds left, in `[0, 10^9)`. */
export function splitTime(ns: bigint): { readonly seconds: bigint; readonly nanoseconds: number } {
  let seconds = ns / NS_PER_SECOND
  let nanoseconds = Number(ns - seconds * NS_PER_SECOND)
  if (nanoseconds < 0) {
    seconds -= 1n
    nanoseconds += 1e9
  }
  return { seconds, nanoseconds }
}

/** The nanoseconds of a time in two parts. */
export const joinTime = (seconds: bigint, nanoseconds: number): bigint =>
  seconds * NS_PER_SECOND + BigInt(nanoseconds)

/** A cache timeout: milliseconds as whole seconds and nanoseconds. */
export function setTimeout64(view: DataView, at: number, nanosecondsAt: number, ms: number): void {
  const seconds = Math.min(Math.floor(ms / 1000), 0xffff_ffff)
  setU64(view, at, seconds)
  view.setUint32(nanosecondsAt, seconds === 0xffff_ffff ? 0 : Math.floor((ms % 1000) * 1e6), true)
}
