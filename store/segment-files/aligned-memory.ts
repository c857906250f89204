import { koffi } from '../koffi.ts'

const ALIGNMENT = 4096

/** Uninitialised page-aligned memory, as a direct write requires. */
export function alignedMemory(length: number): Buffer {
  const bytes = Buffer.allocUnsafeSlow(length + ALIGNMENT)
  const beyond = Number(koffi.address(bytes) % BigInt(ALIGNMENT))
  const start = (ALIGNMENT - beyond) % ALIGNMENT
  return bytes.subarray(start, start + length)
}
