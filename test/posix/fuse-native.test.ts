/** The suite on a mount through fuse-native. */
import { FUSE_NATIVE } from './exclusions.ts'
import { describeMounted } from './mounted-suite.ts'

describeMounted('fuse-native', FUSE_NATIVE)
