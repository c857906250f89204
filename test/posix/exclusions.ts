/** What a filesystem cannot do, each test with the reason. */

/** Why a test cannot pass; `sometimes`: why it may fail and may not, as it is a matter of timing. */
export type Reason = string | { readonly sometimes: string }

/** Tests' names (`group: sentence`) and why they cannot pass. */
export type Exclusions = Readonly<Record<string, Reason>>

/** The host's ext4. */
export const EXT4: Exclusions = {
  'large offsets: the last byte of a file is at 2^63 - 2': 'a file has at most 16 TiB',
  'large offsets: a file may be truncated to 2^63 - 1 bytes and back': 'a file has at most 16 TiB',
  'extended attributes: a value has up to 65536 bytes': 'attributes must fit into one block',
}

/** The host's tmpfs. */
export const TMPFS: Exclusions = {
  'fallocate: ZERO_RANGE zeroes a range, and extends the file unless KEEP_SIZE is given':
    'ZERO_RANGE is not supported',
  'memory maps: bytes written beyond the end through a mapping are zeros when the file grows':
    'the last page is never written back, and so never cleared',
}

/** A mount through the kernel driver. */
export const KERNEL: Exclusions = {}

const NO_BYTES = 'fuse-native hands names over as UTF-8 text'
const NO_FLAGS = 'libfuse 2 has no rename with flags'
const NO_ALLOCATE = 'libfuse 2 as fuse-native builds it has no fallocate'
const NO_SEEK = 'libfuse 2 has no lseek: to the kernel every byte is data'
const INODE_PER_PATH =
  'to libfuse 2 every path is an inode of its own: what the kernel remembers of one name of a file (its link count, ' +
  'ctime) is not refreshed by a change through another name'
const MILLISECONDS = 'fuse-native keeps times in whole milliseconds since 1970, as a double'
const BY_PATH = 'libfuse 2 asks by path, also for what is open: what has no path any more has no attributes'

/** A mount through fuse-native. */
export const FUSE_NATIVE: Exclusions = {
  'names: a name may hold every byte but the slash and NUL': NO_BYTES,
  'symlinks: a target is any bytes, up to 4095 of them, and never empty': NO_BYTES,
  'directories: a removed directory that is open or a working directory is empty and accepts no names':
    BY_PATH,
  'concurrency: readers see the old or the new content of a replaced file, never a mixture': {
    sometimes: BY_PATH,
  },
  'permissions: a new entry belongs to its creator': 'fuse-native does not pass the caller',
  'rename: RENAME_NOREPLACE refuses to replace': NO_FLAGS,
  'rename: RENAME_EXCHANGE swaps two files': NO_FLAGS,
  'rename: RENAME_EXCHANGE swaps a file and a directory of different parents': NO_FLAGS,
  'hard links: a link is another name of the same file': INODE_PER_PATH,
  'hard links: a file exists until its last link is removed': INODE_PER_PATH,
  'hard links: a link to a symlink is a link to the symlink itself': INODE_PER_PATH,
  'hard links: a file may have a thousand links': INODE_PER_PATH,
  'times: ctime follows every change, mtime changes of the data alone': INODE_PER_PATH,
  'symlinks: owner and times of a symlink are its own': MILLISECONDS,
  'times: times are kept to the nanosecond, atime and mtime separately': MILLISECONDS,
  'times: times before 1970 and after 2038 are kept': MILLISECONDS,
  'times: UTIME_OMIT keeps a time, UTIME_NOW sets the current time': MILLISECONDS,
  'times: an explicit mtime is kept at close': MILLISECONDS,
  'times: the time of birth is reported and does not change':
    'the protocol of libfuse 2 has no time of birth',
  'fallocate: fallocate extends a file with zeros and keeps its data': NO_ALLOCATE,
  'fallocate: fallocate with KEEP_SIZE keeps the size': NO_ALLOCATE,
  'fallocate: PUNCH_HOLE zeroes a range with any bounds': NO_ALLOCATE,
  'fallocate: a punched hole frees its space': NO_ALLOCATE,
  'fallocate: a hole beyond the end changes nothing': NO_ALLOCATE,
  'fallocate: ZERO_RANGE zeroes a range, and extends the file unless KEEP_SIZE is given': NO_ALLOCATE,
  'fallocate: changes of data update mtime': NO_ALLOCATE,
  'setuid, setgid and sticky: fallocate, copy_file_range and truncate by a member of the group drop setuid and setgid, by root keep them':
    NO_ALLOCATE,
  'extended attributes: trusted attributes are listed to root only': 'fuse-native does not pass the caller',
  'SEEK_DATA and SEEK_HOLE: SEEK_DATA and SEEK_HOLE distinguish data and holes': NO_SEEK,
  'SEEK_DATA and SEEK_HOLE: a file of one hole has no data': NO_SEEK,
  'SEEK_DATA and SEEK_HOLE: a punched hole is found': NO_ALLOCATE,
}
