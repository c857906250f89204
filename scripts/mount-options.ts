/** The options of `zblkfs mount`: `-o key=value,...` as mount(8) writes them, into MountSettings. */
import { absolutePath } from '../store/os-files.ts'
import { LAYOUTS, type LayoutName } from '../core/foreign/file-system/layouts.ts'
import { isAbsolute } from 'node:path'
import {
  type DriverChoice,
  DRIVERS,
  type MetricsPlace,
  type MountSettings,
  FRESHNESS,
  type Freshness,
  LOCK_SCOPES,
  type LockScope,
} from '../mount/daemon/mount-settings.ts'
import type { SettingChanges } from '../mount/daemon/remount.ts'
import { UsageError } from './failure.ts'
import { COMPRESSIONS, type CompressionName } from '../store/compression.ts'
import { type EncryptionName, ENCRYPTIONS } from '../store/encryption.ts'
import { DURATION_FORMS, parseDurationMs } from '../store/durations.ts'
import { retention } from './retention.ts'
import { parseSizeBytes } from './units.ts'
import { type ZBlkFormat, ZBLK_FORMATS } from '../core/objects/zblk-format.ts'

type Writable<T> = { -readonly [Key in keyof T]: T[Key] }
type Settings = Writable<Omit<MountSettings, 'database' | 'directory' | 'shown'>> & {
  shown: Writable<MountSettings['shown']>
}

/** One option: whether it takes a value, how it is explained, and what it sets. */
interface MountOption {
  /** The placeholder of the value in the help; absent if the option takes no value. */
  readonly value?: string
  readonly help: string
  apply(settings: Settings, value: string): void
}

const LOOPBACK = '127.0.0.1'
const PORT_MAX = 65_535
const ID_MAX = 0xffff_fffe
/** 24 days: the limit of timers is 2^31 ms, and they treat more as 0. */
const COMMIT_INTERVAL_MAX_MS = 24 * 86_400_000

/** All of them, in the order of the help. */
export const MOUNT_OPTIONS: Readonly<Record<string, MountOption>> = {
  ro: {
    help: 'read-only; works while the database is mounted for writing',
    apply: settings => (settings.readOnly = true),
  },
  rw: { help: 'read and write (the default)', apply: settings => (settings.readOnly = false) },
  at: {
    value: 'WHEN',
    help: 'one moment of the past (a tid, time, age or tag), read-only',
    apply(settings, value) {
      settings.at = value
      settings.readOnly = true
    },
  },
  branch: {
    value: 'NAME',
    help: 'a branch of the database, beside the database itself; NAME/OTHER: a branch of that branch',
    apply(settings, value) {
      settings.branch = value
    },
  },
  driver: {
    value: DRIVERS.join('|'),
    help: 'the FUSE driver',
    apply(settings, value) {
      settings.driver = oneOf<DriverChoice>('driver', value, DRIVERS)
    },
  },
  zblk_format: {
    value: ZBLK_FORMATS.join('|'),
    help: 'how blocks are stored: whole (zblk0) or in chunks (zblk1)',
    apply(settings, value) {
      settings.zblkFormat = oneOf<ZBlkFormat>('zblk_format', value, ZBLK_FORMATS)
    },
  },
  cache_size: {
    value: 'SIZE',
    help: 'memory for cached objects, as 64M',
    apply(settings, value) {
      settings.cacheSizeBytes = size('cache_size', value)
    },
  },
  bulk: {
    value: 'S3-URL',
    help: 'keep the bulk data of a new database on a server in a bucket: s3://BUCKET/PREFIX?endpoint=https://HOST',
    apply(settings, value) {
      settings.bulk = value
    },
  },
  cache_dir: {
    value: 'DIR',
    help: 'the directory of the disk cache of a bucket',
    apply(settings, value) {
      if (!isAbsolute(value)) throw new UsageError(`cache_dir=${value} is not an absolute path`)
      settings.cacheDirectory = value
    },
  },
  cache_disk: {
    value: 'SIZE',
    help: 'maximum length of this cache, as 20G; 0: no cache',
    apply(settings, value) {
      settings.cacheDiskBytes = value === '0' ? 0 : size('cache_disk', value)
    },
  },
  dirty_size: {
    value: 'SIZE',
    help: 'memory for changes that are not stored yet, as 64M',
    apply(settings, value) {
      settings.dirtySizeBytes = size('dirty_size', value)
    },
  },
  commit_interval: {
    value: 'TIME',
    help: 'maximum delay before a change is stored, as 5s',
    apply(settings, value) {
      const intervalMs = parseDurationMs(value)
      if (intervalMs === undefined || intervalMs === 0)
        throw new UsageError(`commit_interval=${value} is not a duration: write ${DURATION_FORMS}`)
      if (intervalMs > COMMIT_INTERVAL_MAX_MS)
        throw new UsageError(`commit_interval=${value} is too long: at most 24d`)
      settings.commitIntervalMs = intervalMs
    },
  },
  fresh: {
    value: FRESHNESS.join('|'),
    help: 'of a database on a server: open() shows all that was done before on other mounts, or what is stored',
    apply(settings, value) {
      settings.fresh = oneOf<Freshness>('fresh', value, FRESHNESS)
    },
  },
  locks: {
    value: LOCK_SCOPES.join('|'),
    help: 'of a database on a server: flock and fcntl locks hold on this machine (the default), or among all mounts',
    apply(settings, value) {
      settings.locks = oneOf<LockScope>('locks', value, LOCK_SCOPES)
    },
  },
  history: {
    value: 'TIME|all|0',
    help: 'how long history is kept from now on, as 7d; recorded in the database',
    apply(settings, value) {
      settings.history = retention(`history=${value}`, value)
    },
  },
  compression: {
    value: COMPRESSIONS.join('|'),
    help: 'how new data is stored from now on; recorded in the database',
    apply(settings, value) {
      settings.compression = oneOf<CompressionName>('compression', value, COMPRESSIONS)
    },
  },
  layout: {
    value: LAYOUTS.join('|'),
    help: 'how a ZODB database is shown: by its names, or as by WCFS, for clients of wendelin.core',
    apply(settings, value) {
      settings.layout = oneOf<LayoutName>('layout', value, LAYOUTS)
    },
  },
  encryption: {
    value: ENCRYPTIONS.join('|'),
    help: 'encrypt a new database',
    apply(settings, value) {
      settings.encryption = oneOf<EncryptionName>('encryption', value, ENCRYPTIONS)
    },
  },
  key_file: {
    value: 'FILE',
    help: 'the key of an encrypted database: at least 32 random bytes',
    apply(settings, value) {
      settings.key = { ...settings.key, keyFile: absolutePath(value) }
    },
  },
  key_command: {
    value: 'COMMAND',
    help: 'a command without commas that prints the passphrase or key',
    apply(settings, value) {
      settings.key = { ...settings.key, keyCommand: value }
    },
  },
  acl: {
    help: 'POSIX ACLs (setfacl), checked by the kernel; driver kernel',
    apply: settings => (settings.acl = true),
  },
  noacl: { help: 'no POSIX ACLs (the default)', apply: settings => (settings.acl = false) },
  allow_other: { help: 'other users may use the mount', apply: settings => (settings.allowOther = true) },
  uid: {
    value: 'ID',
    help: 'show this user as the owner of every file',
    apply(settings, value) {
      settings.shown.uid = id('uid', value)
    },
  },
  gid: {
    value: 'ID',
    help: 'show this group as the group of every file',
    apply(settings, value) {
      settings.shown.gid = id('gid', value)
    },
  },
  umask: {
    value: 'OCTAL',
    help: 'hide these permission bits of every file',
    apply(settings, value) {
      if (!/^[0-7]{1,4}$/.test(value))
        throw new UsageError(`umask=${value} is not a mask: write it in octal, as 022`)
      settings.shown.umask = Number.parseInt(value, 8)
    },
  },
  suid: { help: 'honour setuid programs', apply: settings => (settings.suid = true) },
  nosuid: { help: 'ignore setuid bits (the default)', apply: settings => (settings.suid = false) },
  exec: { help: 'programs can be executed (the default)', apply: settings => (settings.noExec = false) },
  noexec: { help: 'programs cannot be executed', apply: settings => (settings.noExec = true) },
  dev: { help: 'honour device nodes', apply: settings => (settings.dev = true) },
  nodev: { help: 'ignore device nodes (the default)', apply: settings => (settings.dev = false) },
  atime: {
    help: 'reads change access times (the default)',
    apply: settings => (settings.ignoresAccess = false),
  },
  noatime: { help: 'reads do not change access times', apply: settings => (settings.ignoresAccess = true) },
  nonempty: {
    help: 'mount over a directory that has entries, hiding them',
    apply: settings => (settings.nonEmpty = true),
  },
  metrics: {
    value: '[HOST:]PORT|FILE',
    help: 'publish metrics: for Prometheus at this address, by default of 127.0.0.1, or in FILE.prom for node_exporter',
    apply(settings, value) {
      settings.metrics = metricsPlace(value)
    },
  },
  fsname: {
    value: 'NAME',
    help: 'the name in the list of mounts (default: the database)',
    apply(settings, value) {
      settings.fsname = value
    },
  },
}

/**
 * Options for mount(8), fstab(5) and systemd: when and by whom something is mounted, or how the kernel's filesystems
 * keep access times. Accepted without effect.
 */
const FOREIGN_OPTIONS = new Set(
  (
    'defaults auto noauto user nouser users nousers owner noowner group nogroup nofail _netdev ' +
    'diratime nodiratime relatime norelatime strictatime nostrictatime lazytime nolazytime async'
  ).split(' '),
)
const isForeign = (name: string): boolean => FOREIGN_OPTIONS.has(name) || /^x[-_]|^comment$/.test(name)

/**
 * Reads the values of `-o`, each a list with commas.
 * @throws UsageError that names the option, and the valid ones if it is unknown.
 */
export function parseMountOptions(lists: readonly string[]): Omit<MountSettings, 'database' | 'directory'> {
  const settings: Settings = {
    driver: 'auto',
    readOnly: false,
    zblkFormat: 'auto',
    allowOther: false,
    suid: false,
    dev: false,
    noExec: false,
    nonEmpty: false,
    shown: {},
  }
  apply(lists, settings, isForeign)
  if (settings.layout === 'wcfs') {
    if (settings.driver === 'fuse-native')
      throw new UsageError('layout=wcfs needs the kernel driver: use driver=kernel, or omit driver')
    // Clients rely on the invalidation of changed pages.
    settings.driver = 'kernel'
  }
  if (settings.locks === 'global') {
    if (settings.driver === 'fuse-native')
      throw new UsageError('locks=global needs the kernel driver: use driver=kernel, or omit driver')
    if (settings.readOnly) throw new UsageError('locks=global is for mounts that write: omit ro and at')
    settings.driver = 'kernel'
  }
  return settings
}

/** What mount(8) passes of the mount that there is, when it remounts it. */
const PASSED_ON = new Set(
  'remount user_id group_id default_permissions rootmode fd max_read blksize subtype'.split(' '),
)

/** Whether the values of `-o` change an existing mount. */
export const isRemount = (lists: readonly string[]): boolean =>
  lists.some(list => list.split(',').includes('remount'))

/** The settings that the values of `-o` name. @throws UsageError */
export function parseRemountOptions(
  lists: readonly string[],
): SettingChanges & Pick<MountSettings, 'history'> {
  const changes: Partial<Settings> & Pick<Settings, 'shown'> = { shown: {} }
  // An option sets what it is about, and reads nothing.
  apply(lists, changes as Settings, name => isForeign(name) || PASSED_ON.has(name))
  const { shown, ...rest } = changes
  return Object.keys(shown).length === 0 ? rest : changes
}

function apply(lists: readonly string[], settings: Settings, isIgnored: (name: string) => boolean): void {
  for (const text of lists.flatMap(list => list.split(','))) {
    if (text === '') continue
    const equals = text.indexOf('=')
    const name = (equals < 0 ? text : text.slice(0, equals)).replaceAll('-', '_')
    const value = equals < 0 ? undefined : text.slice(equals + 1)
    const option = Object.hasOwn(MOUNT_OPTIONS, name) ? MOUNT_OPTIONS[name] : undefined
    if (option === undefined && isIgnored(name)) continue
    if (option === undefined)
      throw new UsageError(
        `there is no mount option '${name}': the options are ${Object.keys(MOUNT_OPTIONS).join(', ')}`,
      )
    if (option.value !== undefined && (value === undefined || value === ''))
      throw new UsageError(`the mount option ${name} needs a value: ${name}=${option.value}`)
    if (option.value === undefined && value !== undefined)
      throw new UsageError(`the mount option ${name} takes no value`)
    option.apply(settings, value ?? '')
  }
}

/** The options as lines of a help text. */
export function describeMountOptions(): string {
  const lines = Object.entries(MOUNT_OPTIONS).map(([name, { value, help }]) => {
    const form = value === undefined ? name : `${name}=${value}`
    return form.length > 24 ? `  ${form}\n${' '.repeat(28)}${help}` : `  ${form.padEnd(26)}${help}`
  })
  const remount = `  ${'remount'.padEnd(26)}change the other options of a mount that there is`
  return ['Mount options (-o, several with commas):', ...lines, remount].join('\n')
}

function oneOf<T extends string>(name: string, value: string, choices: readonly T[]): T {
  const found = choices.find(choice => choice === value)
  if (found === undefined) throw new UsageError(`${name}=${value} is unknown: it is ${choices.join(', ')}`)
  return found
}

/** `9401`, `192.0.2.1:9401`, `[::1]:9401`, or an absolute path that ends in .prom. */
function metricsPlace(value: string): MetricsPlace {
  if (value.includes('/')) {
    if (!isAbsolute(value) || !value.endsWith('.prom'))
      throw new UsageError(
        `metrics=${value}: the file needs an absolute path that ends in .prom, which node_exporter looks for`,
      )
    return { kind: 'file', path: value }
  }
  const [, host = LOOPBACK, digits] = /^(?:([^:]+|\[[^\]]+\]):)?(\d{1,5})$/.exec(value) ?? []
  const port = Number(digits)
  if (digits === undefined || port === 0 || port > PORT_MAX)
    throw new UsageError(
      `metrics=${value} is neither an address nor a file: write 9401, HOST:9401, or the absolute path of a file`,
    )
  return { kind: 'address', host: host.replace(/^\[(.*)\]$/, '$1'), port }
}

function size(name: string, value: string): number {
  const bytes = parseSizeBytes(value)
  if (bytes === undefined || bytes === 0)
    throw new UsageError(`${name}=${value} is not a size: write it as 64M or 1G`)
  return bytes
}

function id(name: string, value: string): number {
  if (!/^\d{1,10}$/.test(value) || Number(value) > ID_MAX)
    throw new UsageError(`${name}=${value} is not a number of a user or group: see 'id -u' and 'id -g'`)
  return Number(value)
}
