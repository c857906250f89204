/** Whether the files of a database still have their names: bytes in a file without one are lost with its last descriptor. */
export interface Presence {
  /**
   * If the database was renamed, gives the files next to it its new name.
   * @throws DatabaseGoneError if a file was removed; StoreError if these files cannot be renamed.
   */
  assertThere(): Promise<void>

  /** The database's path, which another process may change. */
  path(): string

  /** Whether changes are stored although files were removed: their bytes are to be saved from the open descriptors. */
  storeUnnamed(isAllowed: boolean): Promise<void>
}
