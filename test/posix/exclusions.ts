/** What a filesystem cannot do, each test with the reason. */

/** Tests' names (`group: sentence`) and why they cannot pass. */
export type Exclusions = Readonly<Record<string, string>>

/** The host's ext4. */
export const EXT4: Exclusions = {
  'large offsets: the last byte of a file is at 2^63 - 2': 'a file has at most 16 TiB',
  'large offsets: a file may be truncated to 2^63 - 1 bytes and back': 'a file has at most 16 TiB',
  'extended attributes: a value has up to 65536 bytes': 'attributes must fit into one block',
}

/** The host's tmpfs. */
export const TMPFS: Exclusions = {
  'fallocate: ZERO_RANGE zeroes, and grows unless KEEP_SIZE': 'ZERO_RANGE is not supported',
  'memory maps: what a map wrote beyond the end is zeros when the file grows over it':
    'the last page is never written back, and so never cleared',
}

/** A mount through the kernel driver. */
export const KERNEL: Exclusions = {}

/** A mount through fuse-native. */
export const FUSE_NATIVE: Exclusions = {}
