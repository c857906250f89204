/**
 * Numbers of the NBD protocol (fixed newstyle). All fields are big-endian.
 * Source: https://github.com/NetworkBlockDevice/nbd/blob/master/doc/proto.md
 */
export const MAGIC = 0x4e42444d41474943n // NBDMAGIC
export const OPTION_MAGIC = 0x49484156454f5054n // IHAVEOPT
export const OPTION_REPLY_MAGIC = 0x3e889045565a9n
export const REQUEST_MAGIC = 0x25609513
export const SIMPLE_REPLY_MAGIC = 0x67446698
export const STRUCTURED_REPLY_MAGIC = 0x668e33ef

/** Of the server's and the client's handshake flags. */
export const Handshake = { FIXED_NEWSTYLE: 1, NO_ZEROES: 2 } as const

export const Option = {
  EXPORT_NAME: 1,
  ABORT: 2,
  LIST: 3,
  INFO: 6,
  GO: 7,
  STRUCTURED_REPLY: 8,
  LIST_META_CONTEXT: 9,
  SET_META_CONTEXT: 10,
} as const

export const OptionReply = {
  ACK: 1,
  SERVER: 2,
  INFO: 3,
  META_CONTEXT: 4,
  ERR_UNSUP: 0x8000_0001,
  ERR_INVALID: 0x8000_0003,
  ERR_UNKNOWN: 0x8000_0006,
  ERR_TOO_BIG: 0x8000_0009,
} as const

export const Info = { EXPORT: 0, BLOCK_SIZE: 3 } as const

export const Transmission = {
  HAS_FLAGS: 1,
  READ_ONLY: 2,
  SEND_FLUSH: 4,
  SEND_FUA: 8,
  SEND_TRIM: 32,
  SEND_WRITE_ZEROES: 64,
  CAN_MULTI_CONN: 256,
} as const

export const Command = {
  READ: 0,
  WRITE: 1,
  DISC: 2,
  FLUSH: 3,
  TRIM: 4,
  WRITE_ZEROES: 6,
  BLOCK_STATUS: 7,
} as const

export const CommandFlag = { FUA: 1, REQ_ONE: 8 } as const

export const Chunk = { NONE: 0, OFFSET_DATA: 1, BLOCK_STATUS: 5, ERROR: 0x8001 } as const
export const CHUNK_DONE = 1

/** Of the context `base:allocation`. */
export const Allocation = { HOLE: 1, ZERO: 2 } as const
export const ALLOCATION_CONTEXT = 'base:allocation'

/** Errors of replies, by their POSIX name; others are EIO. */
export const ERRORS: Readonly<Record<string, number>> = {
  EPERM: 1,
  EIO: 5,
  ENOMEM: 12,
  EINVAL: 22,
  EFBIG: 22,
  ENOSPC: 28,
  EROFS: 1,
  EOVERFLOW: 75,
  ENOTSUP: 95,
  ESHUTDOWN: 108,
}
