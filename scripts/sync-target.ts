/** Stores what the mount of a database has not stored yet. */
import { callMount } from './find-mount.ts'
import type { Target } from './target.ts'

/** A commit of everything that is dirty may wait for a slow disk. */
const SYNC_TIMEOUT_MS = 600_000

/** @throws CommandError if the daemon does not answer; the daemon's error. */
export async function syncTarget({ mount }: Target): Promise<void> {
  if (mount !== undefined) await callMount(mount, 'sync', {}, SYNC_TIMEOUT_MS)
}
