/** The thread that compresses frames beside the writer (frame-compressor.ts). A message wakes it, and `end` ends it. */
import { parentPort, workerData } from 'node:worker_threads'
import { FrameRing, type SharedRing } from '../indexed/frame-ring.ts'

/** How long it waits for the next frame before it waits for a message, which takes longer to send. */
const WAIT_MS = 5

const ring = new FrameRing(workerData as SharedRing)
parentPort?.on('message', (message: unknown) => {
  if (message === 'end') parentPort?.close()
  else ring.compressAll(WAIT_MS)
})
ring.compressAll(WAIT_MS)
