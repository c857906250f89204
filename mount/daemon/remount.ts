/** Changes of a mount's options while it is served (`-o remount`). */
import { CodedError } from '../../store/errors.ts'
import type { MountSettings } from './mount-settings.ts'

/** The settings that a remount may change. */
const CHANGEABLE = [
  'readOnly',
  'suid',
  'dev',
  'noExec',
  'ignoresAccess',
  'commitIntervalMs',
  'dirtySizeBytes',
  'metrics',
] as const satisfies readonly (keyof MountSettings)[]

/** The options of the other settings, as they are written. */
const OPTION_OF: Readonly<Record<string, string>> = {
  cacheSizeBytes: 'cache_size',
  key: 'the key',
  zblkFormat: 'zblk_format',
  allowOther: 'allow_other',
  layout: 'layout',
  nonEmpty: 'nonempty',
  shown: 'what uid, gid and umask show',
}

/** The settings that the options of a remount name, but for the history, which has a call of its own. */
export type SettingChanges = Partial<Omit<MountSettings, 'database' | 'directory' | 'history'>>

/**
 * The settings after a remount.
 * @throws CodedError if one of them cannot be changed while the mount is served, and differs.
 */
export function changedSettings(settings: MountSettings, changes: SettingChanges): MountSettings {
  const changeable: readonly string[] = CHANGEABLE
  for (const [name, value] of Object.entries(changes)) {
    if (changeable.includes(name) || isDeepEqual(pick(settings, name), value)) continue
    throw new CodedError(
      `${OPTION_OF[name] ?? name} cannot be changed while it is mounted: unmount it, and mount it again`,
      {
        code: 'fixed-option',
      },
    )
  }
  if (settings.readOnly && changes.readOnly === false)
    throw new CodedError(`${settings.database} was opened read-only: unmount it, and mount it for writing`, {
      code: 'fixed-option',
    })
  return { ...settings, ...changes }
}

const pick = (settings: MountSettings, name: string): unknown =>
  new Map<string, unknown>(Object.entries(settings)).get(name)

/** Of values of JSON. An absent owner to show is none. */
const isDeepEqual = (a: unknown, b: unknown): boolean =>
  JSON.stringify(a ?? false) === JSON.stringify(b ?? false)
