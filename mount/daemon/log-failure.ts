/** Logs failures of what clients request: as warnings only if they concern the mount. */
import type { Logger } from 'pino'
import { ErrnoError, type ErrnoName } from '../../core/file-system/errno.ts'
import { CodedError, type ErrorCode } from '../../store/errors.ts'
import { FrameError } from './operations-protocol.ts'

/** Errors that concern the request alone: the client receives them, and the mount is sound. */
const OF_REQUESTS: ReadonlySet<ErrorCode> = new Set<ErrorCode>([
  'usage',
  'read-only',
  'bad-moment',
  'no-moment',
  'no-tag',
  'tag-exists',
  'tag-held',
  'branch-tag',
  'no-transaction',
  'transaction-open',
  'pack-running',
  'no-path',
  'path-exists',
  'undo-clash',
  'no-branches',
  'no-branch',
  'bad-branch-name',
  'branch-exists',
  'not-on-branch',
  'other-database',
  'other-base',
  'diverged',
  'history-dropped',
  'mount-in-use',
  'not-mounted',
  'not-reached',
  'fixed-option',
  'driver-limit',
  'metrics-place',
  'daemon-forbidden',
  'daemon-version',
])

/** Errors of the system that concern the mount. */
const OF_MOUNTS: ReadonlySet<ErrnoName> = new Set<ErrnoName>(['EIO', 'ENOSPC', 'ENOMEM', 'EMFILE', 'ENFILE'])

/** Logs a failure: as a warning if it concerns the mount, so that `zblkfs status` shows it, otherwise as information. */
export function logFailure(
  log: Logger,
  error: unknown,
  message: string,
  data: Readonly<Record<string, unknown>> = {},
): void {
  log[concernsMount(error) ? 'warn' : 'info']({ err: error, ...data }, message)
}

function concernsMount(error: unknown): boolean {
  if (error instanceof ErrnoError) return OF_MOUNTS.has(error.code)
  if (error instanceof CodedError) return !OF_REQUESTS.has(error.code)
  return !(error instanceof FrameError)
}
