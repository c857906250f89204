/** Bytes on the command line: text with escapes. */
import { bytesOf } from '../store/os-text.ts'
import { UsageError } from './failure.ts'

const ESCAPES: Readonly<Record<string, number>> = { n: 10, r: 13, t: 9, '0': 0, '\\': 92 }

/** `\x7f`, `\n`, `\r`, `\t`, `\0` and `\\` stand for one byte; everything else for itself. @throws UsageError */
export function bytesOfPattern(option: string, text: string): Uint8Array {
  const stored = bytesOf(text).toString('latin1')
  const found = stored.replaceAll(/\\(?:x([0-9a-fA-F]{2})|(.?))/gs, (whole, hex?: string, char?: string) => {
    const code = hex === undefined ? ESCAPES[char ?? ''] : Number.parseInt(hex, 16)
    if (code === undefined)
      throw new UsageError(`${option} ${text}: ${whole} is not an escape: write \\\\ for \\`)
    return String.fromCharCode(code)
  })
  if (found === '') throw new UsageError(`${option} needs at least one byte`)
  return Buffer.from(found, 'latin1')
}
