/** What transaction `number` of the crash test writes: both sides of the crash derive it from the number. */
import { oid, type Oid } from '../../../store/ids.ts'

const OBJECTS = 200

/** Between 1 and 60 of the objects, different ones each time. */
export function crashOids(number: number): Oid[] {
  const count = 1 + ((number * 37) % 60)
  return Array.from({ length: count }, (_, index) => oid(1 + ((number * 13 + index) % OBJECTS)))
}

/** Between 0 and 200 kB, long ones seldom. */
export function crashRecord(number: number, object: Oid): Uint8Array {
  const length = ((number + object) % 29 === 0 ? 200_000 : 3000) % (number * 1009 + object * 31)
  return new Uint8Array(length).fill((number * 7 + object) & 255)
}
