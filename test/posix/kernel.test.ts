/** The suite on a mount through the kernel driver. */
import { KERNEL } from './exclusions.ts'
import { describeMounted } from './mounted-suite.ts'

describeMounted('kernel', KERNEL)
