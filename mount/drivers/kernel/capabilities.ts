/** Capabilities of the caller of a request, for rules about which the kernel leaves the decision to the server. */
import { readFileSync } from '../../../store/os-files.ts'
import type { Caller, KeepsSetuid } from '../../../core/file-system/operations.ts'

/** Numbers of linux/capability.h. */
const CAP_FSETID = 4n
const CAP_SYS_ADMIN = 21n

export const keepsSetuid: KeepsSetuid = () => true
export const dropsSetuid: KeepsSetuid = () => false

export const keepsSetuidAs =
  (caller: Caller): KeepsSetuid =>
  () =>
    hasCapability(caller, CAP_FSETID)

/** Whether a waiting caller may see `trusted.*` attributes. */
export const seesTrustedAs =
  (caller: Caller): (() => boolean) =>
  () =>
    hasCapability(caller, CAP_SYS_ADMIN)

/** Whether a waiting caller has a capability. False for callers of another pid namespace and for ones that have ended. */
function hasCapability({ pid }: Caller, capability: bigint): boolean {
  try {
    const effective = /^CapEff:\s*([0-9a-f]+)/m.exec(readFileSync(`/proc/${pid}/status`, 'latin1'))?.[1]
    return effective !== undefined && ((BigInt(`0x${effective}`) >> capability) & 1n) !== 0n
  } catch {
    return false
  }
}
