/** Which operation a request of the kernel is, for counters, and its parameters, for the access log. */
import { OPERATION_NUMBER, type OperationName } from '../../../core/file-system/operation-names.ts'
import type { LoggedRequest } from '../../../core/file-system/access-log.ts'
import { quoted } from '../../../core/file-system/access-log.ts'
import { MalformedRequestError, type Message, type RequestHeader } from './abi/message.ts'
import { Opcode, opcodeName } from './abi/opcodes.ts'

const OPERATIONS: Readonly<Record<number, OperationName>> = {
  [Opcode.LOOKUP]: 'lookup',
  [Opcode.FORGET]: 'forget',
  [Opcode.BATCH_FORGET]: 'forget',
  [Opcode.GETATTR]: 'getattr',
  [Opcode.STATX]: 'getattr',
  [Opcode.SETATTR]: 'setattr',
  [Opcode.READLINK]: 'readlink',
  [Opcode.SYMLINK]: 'symlink',
  [Opcode.MKNOD]: 'mknod',
  [Opcode.MKDIR]: 'mkdir',
  [Opcode.UNLINK]: 'unlink',
  [Opcode.RMDIR]: 'rmdir',
  [Opcode.RENAME]: 'rename',
  [Opcode.RENAME2]: 'rename',
  [Opcode.LINK]: 'link',
  [Opcode.OPEN]: 'open',
  [Opcode.READ]: 'read',
  [Opcode.WRITE]: 'write',
  [Opcode.STATFS]: 'statfs',
  [Opcode.RELEASE]: 'release',
  [Opcode.FSYNC]: 'fsync',
  [Opcode.SETXATTR]: 'setxattr',
  [Opcode.GETXATTR]: 'getxattr',
  [Opcode.LISTXATTR]: 'listxattr',
  [Opcode.REMOVEXATTR]: 'removexattr',
  [Opcode.OPENDIR]: 'opendir',
  [Opcode.READDIR]: 'readdir',
  [Opcode.READDIRPLUS]: 'readdirplus',
  [Opcode.RELEASEDIR]: 'releasedir',
  [Opcode.FSYNCDIR]: 'fsyncdir',
  [Opcode.CREATE]: 'create',
  [Opcode.TMPFILE]: 'createUnnamed',
  [Opcode.FALLOCATE]: 'allocate',
  [Opcode.LSEEK]: 'seek',
  [Opcode.COPY_FILE_RANGE]: 'copyFileRange',
  [Opcode.COPY_FILE_RANGE_64]: 'copyFileRange',
}

/** Stands for a request that is not an operation, as INIT. */
export const NO_OPERATION = 255
const OPCODES = 256

/** The number of the operation of each opcode. */
const NUMBERS = Uint8Array.from({ length: OPCODES }, (_, opcode) => {
  const name = OPERATIONS[opcode]
  return name === undefined ? NO_OPERATION : OPERATION_NUMBER[name]
})

/** The number of a request's operation (operation-names.ts), or {@link NO_OPERATION}. */
export const operationNumber = (opcode: number): number => NUMBERS[opcode] ?? NO_OPERATION

/** Where the name of a request begins. */
const NAME_AT: Readonly<Record<number, number>> = {
  [Opcode.LOOKUP]: 0,
  [Opcode.SYMLINK]: 0,
  [Opcode.UNLINK]: 0,
  [Opcode.RMDIR]: 0,
  [Opcode.MKDIR]: 8,
  [Opcode.LINK]: 8,
  [Opcode.MKNOD]: 16,
  [Opcode.CREATE]: 16,
  [Opcode.RENAME]: 8,
  [Opcode.RENAME2]: 16,
}

/** A request for the access log, before its message is used again. */
export function describe(request: RequestHeader, message: Message): LoggedRequest {
  const { opcode, ino, caller } = request
  const operation = OPERATIONS[opcode] ?? opcodeName(opcode).toLowerCase()
  try {
    const nameAt = NAME_AT[opcode]
    const named = nameAt === undefined ? undefined : message.name(nameAt)
    const parameters = parametersOf(opcode, message, named?.next ?? 0)
    return { operation, ino, caller, name: named?.name, parameters }
  } catch (error) {
    if (!(error instanceof MalformedRequestError)) throw error
    return { operation, ino, caller, parameters: 'malformed' }
  }
}

function parametersOf(opcode: number, message: Message, next: number): string {
  switch (opcode) {
    case Opcode.READ:
    case Opcode.WRITE:
      return `off=${message.bigU64(8)} len=${message.u32(16)}`
    case Opcode.FALLOCATE:
      return `off=${message.bigU64(8)} len=${message.bigU64(16)} mode=${message.u32(24)}`
    case Opcode.LSEEK:
      return `off=${message.bigU64(8)} whence=${message.u32(16)}`
    case Opcode.OPEN:
      return `flags=0o${message.u32(0).toString(8)}`
    case Opcode.CREATE:
    case Opcode.TMPFILE:
      return `flags=0o${message.u32(0).toString(8)} mode=0o${message.u32(4).toString(8)}`
    case Opcode.MKDIR:
    case Opcode.MKNOD:
      return `mode=0o${message.u32(0).toString(8)}`
    case Opcode.RENAME:
    case Opcode.RENAME2:
      return `to=ino:${message.ino(0)} ${quoted(message.name(next).name)}`
    case Opcode.SYMLINK:
      return `target=${quoted(message.text(next).text)}`
    case Opcode.LINK:
      return `from=ino:${message.ino(0)}`
    case Opcode.COPY_FILE_RANGE:
    case Opcode.COPY_FILE_RANGE_64:
      return `off=${message.bigU64(8)} to=ino:${message.ino(16)} to_off=${message.bigU64(32)} len=${message.bigU64(40)}`
    case Opcode.GETXATTR:
      return `attribute=${quoted(message.text(8).text)}`
    case Opcode.REMOVEXATTR:
      return `attribute=${quoted(message.text(0).text)}`
    default:
      return ''
  }
}
