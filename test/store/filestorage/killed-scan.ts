/** Begins to index a FileStorage, and dies of SIGKILL after the first batch. Arguments: the file, the cache directory. */
import { openFileStorage } from '../../../store/filestorage/file-storage.ts'

const [, , path, cacheDirectory] = process.argv
await openFileStorage(path!, {
  cacheDirectory: cacheDirectory!,
  progress: () => process.kill(process.pid, 'SIGKILL'),
})
