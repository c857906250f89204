import { type CodedErrorOptions, StoreError } from '../../../store/errors.ts'

/** An import is impossible or must stop: a name is taken, tids cannot be kept, a copy differs. */
export class ImportError extends StoreError {
  override readonly name = 'ImportError'
  constructor(message: string, options: CodedErrorOptions = {}) {
    super(message, { code: 'cannot-import', ...options })
  }
}
