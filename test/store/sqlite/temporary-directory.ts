import { mkdtemp } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'

/** A new directory for a test, which removes it. */
export const temporaryDirectory = async (): Promise<string> => await mkdtemp(join(tmpdir(), 'zblkfs-store-'))
