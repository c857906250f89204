/** The suite on a mount of a database on a server with a bucket, through the kernel driver. */
import { describe } from 'vitest'
import { hasBucketDatabases, makeBucketDatabase } from '../tools/bucket-database.ts'
import { KERNEL } from './exclusions.ts'
import { describeMounted } from './mounted-suite.ts'

describe.skipIf(!hasBucketDatabases)('with real servers', () => {
  describeMounted('kernel', KERNEL, { name: 'on a server with a bucket', make: makeBucketDatabase })
})
