/**
 * A record of the intent log: the outcome of an operation, so that the next mount can repeat it after a crash. A record carries
 * results (the new inode's number, owner, mode, times), not the request, whose outcome depended on the caller and the clock.
 */
import type { AllocateMode, Ino, Name } from '../operations.ts'

/** The attributes that an operation set; absent ones are unchanged. */
export interface SetAttributes {
  readonly mode?: number
  readonly uid?: number
  readonly gid?: number
  readonly size?: bigint
  readonly atimeNs?: bigint
  readonly mtimeNs?: bigint
  readonly ctimeNs?: bigint
}

export type IntentChange =
  | { readonly kind: 'write'; readonly ino: Ino; readonly off: bigint; readonly data: Uint8Array }
  | {
      readonly kind: 'create'
      readonly parent: Ino
      readonly name: Name
      readonly ino: Ino
      readonly mode: number
      readonly uid: number
      readonly gid: number
      readonly rdev: number
      /** Of a symbolic link; else empty. */
      readonly target: Uint8Array
    }
  | {
      readonly kind: 'remove'
      readonly parent: Ino
      readonly name: Name
      readonly isDirectory: boolean
    }
  | {
      readonly kind: 'rename'
      readonly parent: Ino
      readonly name: Name
      readonly newParent: Ino
      readonly newName: Name
      readonly isExchange: boolean
    }
  | { readonly kind: 'link'; readonly ino: Ino; readonly parent: Ino; readonly name: Name }
  | { readonly kind: 'setattr'; readonly ino: Ino; readonly set: SetAttributes }
  | { readonly kind: 'setxattr'; readonly ino: Ino; readonly name: string; readonly value: Uint8Array }
  | { readonly kind: 'removexattr'; readonly ino: Ino; readonly name: string }
  | {
      readonly kind: 'allocate'
      readonly ino: Ino
      readonly off: bigint
      readonly len: bigint
      readonly mode: AllocateMode
    }
  | {
      readonly kind: 'copy'
      readonly from: Ino
      readonly fromOff: bigint
      readonly to: Ino
      readonly toOff: bigint
      readonly len: bigint
    }

/** A change, and when it was made, in nanoseconds since 1970. */
export type Intent = IntentChange & { readonly timeNs: bigint }
