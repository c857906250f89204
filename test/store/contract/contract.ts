/**
 * The contract of store/store.ts and the capabilities of store/capabilities.ts as tests, a file for each part. A store
 * that can be written runs {@link storeContract}; one that is only read runs {@link readingContract} over what it should hold.
 */
import { expect, onTestFinished, test } from 'vitest'
import type { Capabilities } from '../../../store/capabilities.ts'
import { checkingContract } from './checking.ts'
import { commitContract } from './committing.ts'
import { compressingContract, connectionContract, datingContract, presenceContract } from './condition.ts'
import { conflictContract } from './conflicts.ts'
import { copyingContract } from './copying.ts'
import { encryptingContract } from './encrypting.ts'
import { intentsContract } from './intents.ts'
import { lineageContract } from './lineage.ts'
import { measuringContract } from './measuring.ts'
import type { MakeDatabase } from './opened-database.ts'
import { orderContract } from './order.ts'
import { packingContract } from './packing.ts'
import { pinningContract } from './pinning.ts'
import { writeRandomHistory } from './random-history.ts'
import { readingContract } from './reading.ts'
import { retainingContract } from './retaining.ts'
import { sizeContract } from './sizes.ts'
import { sliceContract } from './slices.ts'
import { spillingContract } from './spilling.ts'
import { watchingContract } from './watching.ts'

/** The capabilities that a writer offers, and those that a reader beside it does. */
export interface Offers {
  readonly writer: readonly string[]
  readonly reader: readonly string[]
}

/** The suite of each capability that a database opened once may offer: leasing.ts and file-locking.ts open one several times, test/store/branch and raw-stream.test.ts make two. */
const SUITES: Readonly<
  Record<
    Exclude<keyof Capabilities, 'foreignHistory' | 'leasing' | 'fileLocking' | 'branch' | 'rawSending'>,
    (name: string, make: MakeDatabase) => void
  >
> = {
  encrypting: encryptingContract,
  intents: intentsContract,
  packing: packingContract,
  measuring: measuringContract,
  spilling: spillingContract,
  pinning: pinningContract,
  retaining: retainingContract,
  checking: checkingContract,
  copying: copyingContract,
  lineage: lineageContract,
  watching: watchingContract,
  dating: datingContract,
  compressing: compressingContract,
  connection: connectionContract,
  presence: presenceContract,
}

/** The whole contract, and the capabilities that the store offers; `make` makes a new database each time. */
export function storeContract(name: string, make: MakeDatabase, offers: Offers): void {
  readingContract(name, async () => {
    const database = await make()
    onTestFinished(async () => await database.remove())
    const writer = await database.open()
    const history = await writeRandomHistory(writer, 1)
    await writer.close()
    return { store: await database.openReader(), history }
  })
  commitContract(name, make)
  conflictContract(name, make)
  sliceContract(name, make)
  sizeContract(name, make)
  orderContract(name, make)
  for (const [capability, contract] of Object.entries(SUITES))
    if ([...offers.writer, ...offers.reader].includes(capability)) contract(name, make)

  test(`${name} offers the capabilities that are tested, and no others`, async () => {
    const database = await make()
    onTestFinished(async () => await database.remove())
    const writer = await database.open()
    const reader = await database.openReader()
    expect(Object.keys(writer.capabilities).toSorted()).toEqual(offers.writer.toSorted())
    expect(Object.keys(reader.capabilities).toSorted()).toEqual(offers.reader.toSorted())
    await reader.close()
    await writer.close()
  })
}
