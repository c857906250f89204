/** Admission by the free space of the disk: a change that does not fit is refused, one that frees space is not. */
import { expect, test } from 'vitest'
import { Admission } from '../../../core/file-system/commit/admission.ts'
import type { Committer } from '../../../core/file-system/commit/committer.ts'
import { NoSpaceError } from '../../../store/errors.ts'
import { codeOf } from '../../tools/paths.ts'

const MIB = 1 << 20

/** An admission over a disk with room for `availableBytes`, and a committer that stores what is dirty, or fails. */
function admissionOver(disk: {
  availableBytes: number
  securedBytes?: number
  fails?: boolean
  measured?: Promise<void> | undefined
}): {
  readonly admission: Admission
  readonly committer: { dirtyBytes: number; attempts: number; nextCommit: () => Promise<void> }
} {
  const committer = {
    dirtyBytes: 0,
    securedBytes: Infinity,
    attempts: 0,
    failure: undefined as { readonly error: unknown; readonly attempt: number } | undefined,
    conflict: undefined,
    isPaused: false,
    onSettled: () => {},
    get isDirty() {
      return committer.dirtyBytes > 0
    },
    // oxlint-disable-next-line require-await -- as the real one, it rejects
    async nextCommit(): Promise<void> {
      const attempt = ++committer.attempts
      const error = new NoSpaceError('the disk is full')
      committer.failure = disk.fails === true ? { error, attempt } : undefined
      if (disk.fails === true) throw error
      disk.availableBytes -= committer.dirtyBytes
      committer.dirtyBytes = 0
      committer.onSettled()
    },
  }
  const admission = new Admission(committer as unknown as Committer, 32 * MIB, {
    availableBytes: async () => {
      const { availableBytes } = disk
      await disk.measured
      return availableBytes
    },
    securedBytes: () => Promise.resolve(disk.securedBytes),
  })
  return { admission, committer }
}

test('a write without space on the disk is refused, also if only its records do not fit', async () => {
  const { admission } = admissionOver({ availableBytes: MIB })
  await admission.admit(MIB / 2)
  admission.leave(MIB / 2)
  expect(await codeOf(Promise.resolve(admission.admit(2 * MIB)))).toBe('NoSpaceError')
  expect(await codeOf(Promise.resolve(admission.admit(0, false, 2 * MIB)))).toBe('NoSpaceError')
})

test('dirty data is stored first, and counted as used', async () => {
  const disk = { availableBytes: 4 * MIB }
  const { admission, committer } = admissionOver(disk)
  await admission.admit(3 * MIB)
  committer.dirtyBytes = 3 * MIB
  admission.leave(3 * MIB)
  expect(await codeOf(Promise.resolve(admission.admit(2 * MIB)))).toBe('NoSpaceError')
  expect(committer.attempts).toBe(1)
  await admission.admit(MIB / 2)
})

test('a change that frees space is admitted on a full disk, and while commits fail', async () => {
  const { admission, committer } = admissionOver({ availableBytes: 0, fails: true })
  await admission.admit(0, true)
  committer.dirtyBytes = 40 * MIB
  expect(await codeOf(Promise.resolve(admission.admit(4096)))).toBe('NoSpaceError')
  await admission.admit(0, true)
  expect(await codeOf(Promise.resolve(admission.admit(0)))).toBe('NoSpaceError')
})

test('on a disk that is short of space no more stays in memory than is secured', async () => {
  const { admission, committer } = admissionOver({ availableBytes: 20 * MIB, securedBytes: 2 * MIB })
  const write = async (bytes: number): Promise<number> => {
    await admission.admit(bytes)
    committer.dirtyBytes += bytes
    admission.leave(bytes)
    return committer.attempts
  }
  expect([await write(MIB), await write(MIB / 2), await write(MIB), await write(8 * MIB)]).toEqual([
    0, 0, 1, 2,
  ])
  expect(await write(MIB)).toBe(3)
})

test('between the end of a commit and the next measurement nothing is admitted by the previous one', async () => {
  const measured = Promise.withResolvers<void>()
  const disk = { availableBytes: 20 * MIB, measured: undefined as Promise<void> | undefined }
  const { admission, committer } = admissionOver(disk)
  await admission.admit(16 * MIB)
  committer.dirtyBytes = 16 * MIB
  admission.leave(16 * MIB)
  disk.measured = measured.promise
  await committer.nextCommit()
  const refused = codeOf(Promise.resolve(admission.admit(8 * MIB)))
  measured.resolve()
  expect(await refused).toBe('NoSpaceError')
  await admission.admit(2 * MIB)
})
