/** The time of day in nanoseconds since 1970. */
export type Clock = () => bigint

/** Maximum difference between the counted time and the machine's clock before it is reset. */
const TOLERANCE_NS = 2_000_000n

/** The machine's clock with finer resolution: Date has milliseconds, but files' times should order changes within one. */
export function systemClock(): Clock {
  let start = process.hrtime.bigint()
  let startNs = BigInt(Date.now()) * 1_000_000n
  return () => {
    const roughNs = BigInt(Date.now()) * 1_000_000n
    const now = process.hrtime.bigint()
    const fineNs = startNs + now - start
    const off = fineNs - roughNs
    if (off >= -TOLERANCE_NS && off <= TOLERANCE_NS) return fineNs
    start = now
    startNs = roughNs
    return roughNs
  }
}
