/** Bytes of a Bulk cannot be given. The caller knows whose bytes they are. */
export class BulkDamageError extends Error {
  override readonly name = 'BulkDamageError'
}
