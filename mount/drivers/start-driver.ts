/** The choice of the driver for a mount. */
import type { Driver, Mount, MountOptions } from './driver.ts'
import type { Operations } from '../../core/file-system/operations.ts'
import type { DriverChoice } from '../daemon/mount-settings.ts'

type DriverName = Exclude<DriverChoice, 'auto'>

/** Loaded on demand, as the packages that one driver needs may be missing if only the other can run. */
const LOADERS: Readonly<Record<DriverName, () => Promise<Mount>>> = {
  kernel: async () => (await import('./kernel/driver.ts')).mountKernel,
  'fuse-native': async () => (await import('./fuse-native/driver.ts')).mountFuseNative,
}

/**
 * Starts the requested driver. `auto` is the kernel driver, or fuse-native if that one cannot be started.
 * @throws MountError; the kernel driver's if both fail.
 */
export async function startDriver(
  choice: DriverChoice,
  operations: Operations,
  options: MountOptions,
): Promise<{ readonly name: DriverName; readonly driver: Driver }> {
  const start = async (name: DriverName) => ({
    name,
    driver: await (await LOADERS[name]())(operations, options),
  })
  if (choice !== 'auto') return await start(choice)
  try {
    return await start('kernel')
  } catch (error) {
    options.log.warn({ err: error }, 'the kernel driver did not start: trying fuse-native')
    try {
      return await start('fuse-native')
    } catch (second) {
      options.log.warn({ err: second }, 'fuse-native did not start either')
      throw error
    }
  }
}
