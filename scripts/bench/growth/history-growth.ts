/** Costs as a function of the length of the history: opening a moment for the first time, and reading 4 KiB there. */
import { closeSync, openSync, readSync, writeSync } from 'node:fs'
import { join } from 'node:path'
import { median } from '../measure.ts'
import type { MountedZblkfs } from '../places/place.ts'
import { mountZblkfs } from '../places/zblkfs.ts'
import { interrupted } from '../programs.ts'
import type { Growth } from './curve.ts'

const PAGE_BYTES = 4096
const FILE_PAGES = 256
/** The shortest history, and the number of moments opened at each point. */
const FROM = 10
const STEP = 10
/** Measures histories of 10 to `transactions` transactions, each of which changes 4 KiB. */
export async function historyGrowth(root: string, transactions: number): Promise<readonly Growth[]> {
  const zblkfs = await mountZblkfs(join(root, 'history.db'), join(root, 'history'))
  const early: [number, number][] = []
  const late: [number, number][] = []
  try {
    let first: readonly string[] = []
    let done = 0
    for (let wanted = FROM; wanted <= transactions; wanted *= STEP) {
      const last = await addTransactions(zblkfs, done, wanted)
      if (done === 0) first = last
      done = wanted
      early.push([wanted, await openMoments(zblkfs, first)])
      late.push([wanted, await openMoments(zblkfs, last)])
      console.log({ transactions: wanted, earlyMs: early.at(-1)?.[1], lateMs: late.at(-1)?.[1] })
    }
  } finally {
    await zblkfs.unmount()
  }
  return [
    {
      name: 'moment-access',
      plot: {
        title: 'Opening a file of /@tid and reading 4 KiB of it',
        x: { label: 'length of the history, transactions', scale: 'log' },
        y: { label: 'ms, median', scale: 'linear' },
        curves: [
          { name: 'the first moments', points: early },
          { name: 'the last moments', points: late },
        ],
      },
      description:
        `The median of ${FROM - 1} moments that this daemon has not accessed before. One lookup in an index finds a record ` +
        'as of a moment; the depth of the index is logarithmic in the number of revisions.',
    },
  ]
}

/** Makes transactions from number `done` to `wanted`; resolves to the tids of the last ones. */
async function addTransactions(
  zblkfs: MountedZblkfs,
  done: number,
  wanted: number,
): Promise<readonly string[]> {
  const fd = openSync(join(zblkfs.directory, 'file'), done === 0 ? 'w' : 'r+')
  const tids: string[] = []
  for (let i = done; i < wanted; i++) {
    interrupted.throwIfAborted()
    writeSync(fd, Buffer.alloc(PAGE_BYTES, i), 0, PAGE_BYTES, (i % FILE_PAGES) * PAGE_BYTES)
    // An fsync would not make a transaction.
    const tid = await zblkfs.sync()
    if (i >= wanted - FROM) tids.push(tid)
  }
  closeSync(fd)
  return tids
}

/** The median in milliseconds. Opened moments are cached for a while, so it starts a new daemon. */
async function openMoments(zblkfs: MountedZblkfs, tids: readonly string[]): Promise<number> {
  await zblkfs.unmount()
  await zblkfs.mount()
  // The daemon's first request is not counted.
  const [, ...times] = tids.map(tid => openMoment(zblkfs, tid))
  return median(times)
}

function openMoment({ directory }: MountedZblkfs, tid: string): number {
  const start = performance.now()
  const fd = openSync(join(directory, `@${tid}`, 'file'), 'r')
  const read = readSync(fd, Buffer.alloc(PAGE_BYTES))
  const ms = performance.now() - start
  closeSync(fd)
  if (read !== PAGE_BYTES) throw new Error(`@${tid}: the file is shorter than it was`)
  return ms
}
