/** Capabilities of the caller of a request, for changes about which the kernel does not tell. */
import { readFileSync } from 'node:fs'
import type { Caller, KeepsSetuid } from '../../../core/file-system/operations.ts'

const CAP_FSETID_BIT = 1n << 4n

export const keepsSetuid: KeepsSetuid = () => true
export const dropsSetuid: KeepsSetuid = () => false

/** Whether a waiting caller has CAP_FSETID. A caller of another pid namespace, or one that has ended, has not. */
export function keepsSetuidAs({ pid }: Caller): KeepsSetuid {
  return () => {
    try {
      const effective = /^CapEff:\s*([0-9a-f]+)/m.exec(readFileSync(`/proc/${pid}/status`, 'latin1'))?.[1]
      return effective !== undefined && (BigInt(`0x${effective}`) & CAP_FSETID_BIT) !== 0n
    } catch {
      return false
    }
  }
}
