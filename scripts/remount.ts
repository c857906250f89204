/** `zblkfs mount DB DIR -o remount,...`: changes options of a mount, those of its daemon and those of the kernel. */
import { isRoot } from '../core/process-owner.ts'
import type { MountSettings } from '../mount/daemon/mount-settings.ts'
import type { SettingChanges } from '../mount/daemon/remount.ts'
import { setMountFlags } from '../mount/drivers/kernel/mount-as-root.ts'
import { formatRetention } from '../store/retention.ts'
import { CommandError } from './failure.ts'
import { callMount, findMount } from './find-mount.ts'
import { say } from './say.ts'

/** Storing everything comes first where the mount becomes read-only. */
const TIMEOUT_MS = 600_000

/** @throws CommandError; CodedError of the daemon, if an option cannot be changed. */
export async function remount(
  path: string,
  { history, ...changes }: SettingChanges & Pick<MountSettings, 'history'>,
): Promise<void> {
  const mount = findMount(path)
  const { readOnly, suid, dev, noExec, ignoresAccess } = changes
  const has = (option: string): boolean => mount.options.includes(option)
  const flags = {
    readOnly: readOnly ?? has('ro'),
    suid: suid ?? !has('nosuid'),
    dev: dev ?? !has('nodev'),
    noExec: noExec ?? has('noexec'),
    noAtime: ignoresAccess ?? has('noatime'),
  }
  const isChanged =
    flags.readOnly !== has('ro') ||
    flags.suid === has('nosuid') ||
    flags.dev === has('nodev') ||
    flags.noExec !== has('noexec')
  if (isChanged && !isRoot())
    throw new CommandError(
      'only root can change ro, rw, suid, dev and exec of a mount: run it with sudo, or mount again',
    )
  await callMount(mount, 'remount', { changes }, TIMEOUT_MS)
  if (history !== undefined) await callMount(mount, 'history', { keep: formatRetention(history) }, TIMEOUT_MS)
  if (isRoot()) setMountFlags(mount.mountPoint, mount.source, flags)
  say(`${path} has the new options`)
}
