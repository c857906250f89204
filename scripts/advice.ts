/**
 * Advice to the user about an error: the only place that maps error codes to commands. Lower layers say what failed and
 * why, and do not mention commands.
 */
import { type CodedError, CorruptRecordError, type ErrorCode, ObjectNotFoundError } from '../store/errors.ts'
import { MOMENT_FORMS } from '../store/moments.ts'
import { shellWord } from './shell-word.ts'

const FSCK = "run 'zblkfs fsck' on the database"
/** Also of 'zblkfs doctor'. */
export const REMEDIES = {
  'device-forbidden':
    "run 'sudo chmod 666 /dev/fuse'; start a container with --device /dev/fuse --cap-add SYS_ADMIN",
  'device-missing':
    "load its module with 'sudo modprobe fuse'; start a container with --device /dev/fuse --cap-add SYS_ADMIN",
  'fusermount-missing': "install it with 'sudo apt-get install fuse3'",
} as const satisfies Readonly<Partial<Record<ErrorCode, string>>>

const KERNEL_DRIVER = 'use -o driver=kernel'
const LIST_MOMENTS = `'zblkfs log' lists the transactions, 'zblkfs tag -l' the tags; a moment is ${MOMENT_FORMS}`

/** Advice by code. Errors with other codes have self-explanatory messages. */
const ADVICE: Readonly<Partial<Record<ErrorCode, string | ((path: string) => string)>>> = {
  'object-not-found': FSCK,
  'corrupt-record': FSCK,
  damaged: FSCK,
  'damaged-file': "restore it from a copy, or check with 'zblkfs fsck' what can be saved",
  'damaged-log':
    "restore the database and its -log directory from one copy, or check with 'zblkfs fsck' what can be saved",
  'damaged-id': "run 'zblkfs fsck --repair' on it",
  'damaged-index':
    "check the damage with 'zblkfs fsck', copy the database, and repair it with 'zblkfs fsck --repair'",
  'not-whole':
    "copy the original with 'zblkfs backup' or 'zblkfs copy', which work while it is mounted, or unmount it and copy it together with its -log directory; 'zblkfs fsck --repair' makes a database of what this copy has",
  'database-gone': "'zblkfs rescue DIR TARGET' saves its bytes in a new database while it is mounted",
  'key-needed':
    'type its passphrase at a terminal, or give --key-file, --key-command (-o key_file=, key_command= for mounts), ZBLKFS_KEY_FILE or ZBLKFS_KEY_COMMAND',
  fenced:
    "'zblkfs rescue DIR TARGET' copies what is not stored, then 'zblkfs rejoin DIR' lets the mount write again",
  locked: 'unmount it there first, or mount it read-only with -o ro',
  'read-only-medium':
    'mount it with -o ro; if it was not unmounted before it was put there, copy it to another filesystem',
  'server-standby': 'mount it with -o ro, or name the primary server',
  'server-read-only': 'or mount it with -o ro',
  'newer-format': 'use the newest zblkfs',
  'older-format':
    "with the version that wrote it, copy its files out or export it ('zblkfs export'), and import that with this one",
  'no-database': "check the name, or let 'zblkfs mount' create it",
  'empty-database': "check the name, or let 'zblkfs mount' create the database",
  'bad-moment': `a moment is ${MOMENT_FORMS}`,
  'no-moment': LIST_MOMENTS,
  'tag-exists': '--force moves it',
  'tag-held': path => `release it first with 'zblkfs tag ${shellWord(path)} --release'`,
  'branch-tag': name => `delete the branch with 'zblkfs branch DB --delete ${name}'`,
  'no-branches': "branch a copy of it in a file ('zblkfs copy')",
  'before-branch': "branch the database at that moment, with 'zblkfs branch DB NAME --at WHEN'",
  'base-dropped':
    "restore the database from a backup that has this moment, or delete the branch with 'zblkfs branch DB --delete NAME'",
  'no-branch': "'zblkfs branch DB' lists the branches, 'zblkfs branch DB NAME' makes one",
  'branch-exists': 'choose another name',
  'has-branches': "delete these first, with 'zblkfs branch DB --delete NAME/BRANCH'",
  'partial-branch': "remove it with 'zblkfs branch DB --delete NAME', and make it again",
  'not-on-branch':
    "'zblkfs copy BRANCH NEW' makes a database of it, where this works; 'zblkfs merge DB NAME' brings its changes into its database",
  'path-exists': "'zblkfs restore --force' replaces a file",
  'no-tag': "'zblkfs tag -l' lists the tags",
  'no-transaction': "'zblkfs log' lists the transactions",
  'unfinished-import': 'repeat the import to complete it, or remove that file to use the database as it is',
  'bad-stream':
    "only 'zblkfs send' of this version writes such streams; if it was damaged on its way, send it again",
  'other-backup': 'name another directory',
  'other-database': 'name the copy that was received from that source, or a new database',
  'other-base':
    "'zblkfs send --from' must name the last transaction that the receiver has ('zblkfs receive --state')",
  diverged:
    'only what is received may change a copy; receive into a new database, and keep what was changed here under its own name',
  'bytes-dropped': "send it with 'zblkfs send --self-contained'",
  'history-dropped': "pack copies only with 'zblkfs receive --pack'",
  'already-mounted': path => `unmount it first with 'zblkfs umount ${shellWord(path)}'`,
  'dead-mount': path => `remove it with 'zblkfs umount -l ${shellWord(path)}', then mount again`,
  'not-empty': 'name an empty directory, or mount over its entries with -o nonempty',
  'not-mounted': "'zblkfs status' lists the mounts",
  'mount-in-use': path =>
    `end the processes that use it, or detach it with 'zblkfs umount -l ${shellWord(path)}'`,
  ...REMEDIES,
  'mount-forbidden': 'start a container with --cap-add SYS_ADMIN --device /dev/fuse',
  'metrics-place': 'choose another -o metrics=',
  'import-exists': 'choose another place with --into',
  'import-overlap': 'import into a new database, or without --history',
  'server-lacks-database': database => `create it with 'createdb ${database}'`,
  'driver-missing': KERNEL_DRIVER,
  'libfuse-missing': `install libfuse2 (apt-get install libfuse2, or libfuse2t64), or ${KERNEL_DRIVER}`,
  'fuse-native-missing': `install it beside zblkfs with 'npm install -g fuse-native@2.2.6', or ${KERNEL_DRIVER}`,
  'driver-limit': 'mount with -o driver=kernel, or use the command on the database while it is not mounted',
  'daemon-version': 'unmount and mount again with this version',
  internal: 'the log of the mount has the details',
}

/** The advice about an error; undefined if its message is self-explanatory. */
export function adviceFor(error: CodedError): string | undefined {
  const isObjectError = error instanceof ObjectNotFoundError || error instanceof CorruptRecordError
  if (isObjectError && error.foreign !== undefined)
    return `check ${error.foreign} with ZODB's fsrefs (and fstest for a FileStorage), or restore it from a copy`
  const advice = ADVICE[error.code]
  return typeof advice === 'function' ? advice(error.path ?? 'DIR') : advice
}

/** An error as a command prints it: what failed, why, and the advice. */
export function explain(error: CodedError): string {
  const advice = adviceFor(error)
  return advice === undefined ? error.message : `${error.message}: ${advice}`
}
