/** Base class of a read-only filesystem: rejects every operation that changes something. */
import { ErrnoError } from '../../file-system/errno.ts'
import type { Attributes, Entry, Fh, Ino, OpenFile } from '../../file-system/operations.ts'

export abstract class ReadOnlyOperations {
  setattr(): Promise<Attributes> {
    return refuse()
  }
  symlink(): Promise<Entry> {
    return refuse()
  }
  mknod(): Promise<Entry> {
    return refuse()
  }
  mkdir(): Promise<Entry> {
    return refuse()
  }
  link(): Promise<Entry> {
    return refuse()
  }
  unlink(): Promise<void> {
    return refuse()
  }
  rmdir(): Promise<void> {
    return refuse()
  }
  rename(): Promise<void> {
    return refuse()
  }
  create(): Promise<{ readonly entry: Entry; readonly file: OpenFile }> {
    return refuse()
  }
  createUnnamed(): Promise<{ readonly entry: Entry; readonly file: OpenFile }> {
    return refuse()
  }
  write(_ino: Ino, _fh: Fh, _off: bigint, _data: Uint8Array): Promise<number> {
    return refuse()
  }
  append(_ino: Ino, _fh: Fh, _data: Uint8Array): Promise<bigint> {
    return refuse()
  }
  allocate(): Promise<void> {
    return refuse()
  }
  copyFileRange(): Promise<bigint> {
    return refuse()
  }
  setxattr(): Promise<void> {
    return refuse()
  }
  removexattr(): Promise<void> {
    return refuse()
  }
}

async function refuse(): Promise<never> {
  throw new ErrnoError('EROFS', 'a ZODB database is read-only')
}
