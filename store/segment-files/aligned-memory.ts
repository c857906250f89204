import koffi from 'koffi'

const ALIGNMENT = 4096

/** Memory that lies as a disk wants it of a write past the kernel's cache, with whatever is in it. */
export function alignedMemory(length: number): Buffer {
  const bytes = Buffer.allocUnsafeSlow(length + ALIGNMENT)
  const beyond = Number(koffi.address(bytes) % BigInt(ALIGNMENT))
  const start = (ALIGNMENT - beyond) % ALIGNMENT
  return bytes.subarray(start, start + length)
}
