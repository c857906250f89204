/** The suite on a mount of a database that another mount writes all the time, with locks among both, through the kernel driver. */
import { describe } from 'vitest'
import { hasPostgres } from '../tools/postgres-server.ts'
import { makeWrittenBeside } from '../tools/written-beside.ts'
import { KERNEL } from './exclusions.ts'
import { describeMounted } from './mounted-suite.ts'

const LOCKS = 'locks=global'

describe.skipIf(!hasPostgres)('with another mount that writes', () => {
  describeMounted('kernel', KERNEL, {
    name: 'beside another mount',
    make: async () => ({ ...(await makeWrittenBeside([LOCKS])), options: [LOCKS] }),
  })
})
