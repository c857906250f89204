/** Whether the system's clock is synchronised, by NTP for example: adjtimex(2). */
import { koffi } from './koffi.ts'

/** Size of struct timex on 64-bit Linux, and the mode that changes nothing. */
const TIMEX_BYTES = 208
/** What adjtimex(2) returns for a clock that is not synchronised; -1 if it may not be called. */
const TIME_ERROR = 5

const adjtimex = koffi.load(null).func('int adjtimex(void *timex)') as (timex: Buffer) => number

/** False if the kernel does not say. */
export function isClockSynchronised(): boolean {
  const state = adjtimex(Buffer.alloc(TIMEX_BYTES))
  return state >= 0 && state !== TIME_ERROR
}
