/** The suite: every test by its group and its sentence. */
import type { Tests } from './directory.ts'
import { createAndOpen } from './tests/create.ts'
import { directories } from './tests/directories.ts'
import { hardLinks, symlinks } from './tests/links.ts'
import { locks } from './tests/locks.ts'
import { concurrency, manyOpenFiles } from './tests/many.ts'
import { directAndSynchronous, memoryMaps } from './tests/memory.ts'
import { names } from './tests/names.ts'
import { permissionChecks, setIdAndSticky } from './tests/permissions.ts'
import { readAndWrite } from './tests/read-write.ts'
import { rename } from './tests/rename.ts'
import { allocation, copying, seeking, statistics } from './tests/space.ts'
import { specialFiles } from './tests/special.ts'
import { synchronising } from './tests/sync.ts'
import { times } from './tests/times.ts'
import { largeOffsets, sparseAndTruncate } from './tests/truncate.ts'
import { unlinkedAndOpen } from './tests/unlinked.ts'
import { extendedAttributes } from './tests/xattrs.ts'

export const GROUPS: Readonly<Record<string, Tests>> = {
  names,
  'create and open': createAndOpen,
  'read and write': readAndWrite,
  'sparse and truncate': sparseAndTruncate,
  'large offsets': largeOffsets,
  directories,
  rename,
  'hard links': hardLinks,
  symlinks,
  'special files': specialFiles,
  'unlinked and open': unlinkedAndOpen,
  permissions: permissionChecks,
  'setuid, setgid and sticky': setIdAndSticky,
  times,
  'extended attributes': extendedAttributes,
  fallocate: allocation,
  'SEEK_DATA and SEEK_HOLE': seeking,
  copy_file_range: copying,
  'memory maps': memoryMaps,
  'O_DIRECT and O_SYNC': directAndSynchronous,
  fsync: synchronising,
  locks,
  statfs: statistics,
  'many open files': manyOpenFiles,
  concurrency,
}

/** A test's name across groups. */
export const testName = (group: string, test: string): string => `${group}: ${test}`

/** All tests' names, in their order. */
export const ALL_TESTS: readonly string[] = Object.entries(GROUPS).flatMap(([group, tests]) =>
  Object.keys(tests).map(test => testName(group, test)),
)
