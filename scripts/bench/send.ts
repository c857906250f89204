/**
 * Sends a change of 1 % of a large file, in runs of 64 KiB at random places, and compares bytes and seconds with rsync over the same
 * file: part of `npm run bench:feed`. ZBLKFS_SEND_GIB sets the size of the file.
 */
import { spawnSync } from 'node:child_process'
import { randomFillSync } from 'node:crypto'
import {
  copyFileSync,
  openSync,
  closeSync,
  writeSync,
  statSync,
  createReadStream,
  createWriteStream,
} from 'node:fs'
import { join } from 'node:path'
import { pipeline } from 'node:stream/promises'
import { open, receive } from '../../index.ts'

const SIZE_BYTES = Math.round(Number(process.env['ZBLKFS_SEND_GIB'] ?? 2) * 2 ** 30)
const RUN_BYTES = 65_536
const CHANGED_PART = 0.01
const PIECE_BYTES = 4 << 20

/** @param directory with room for about five times the file. */
export async function benchSend(directory: string): Promise<void> {
  const name = join(directory, 'send.zblk')
  const copy = join(directory, 'copy.zblk')
  const [plain, synced] = [join(directory, 'plain'), join(directory, 'synced')]
  const db = await open(name, { create: true })
  const file = await db.files.open('/big', 'w')
  const fd = openSync(plain, 'w')
  const piece = Buffer.alloc(PIECE_BYTES)
  for (let at = 0; at < SIZE_BYTES; at += PIECE_BYTES) {
    randomFillSync(piece)
    await file.write(piece, 0, piece.length, at)
    writeSync(fd, piece, 0, piece.length, at)
  }
  await db.sync()
  const whole = await timed(() => receive(copy, db.send()))
  print('send of everything, received', whole.result.bytes, whole.seconds)
  copyFileSync(plain, synced)

  const run = Buffer.alloc(RUN_BYTES)
  for (let changed = 0; changed < SIZE_BYTES * CHANGED_PART; changed += RUN_BYTES) {
    const at = Math.floor((Math.random() * SIZE_BYTES) / RUN_BYTES) * RUN_BYTES
    randomFillSync(run)
    await file.write(run, 0, run.length, at)
    writeSync(fd, run, 0, run.length, at)
  }
  closeSync(fd)
  await file.close()
  const { tid } = whole.result
  await db.sync()
  const range = { from: tid }
  const stream = join(directory, 'stream')
  const sent = await timed(() => pipeline(db.send(range), createWriteStream(stream)))
  print('send of 1 %', statSync(stream).size, sent.seconds)
  const received = await timed(() => receive(copy, createReadStream(stream) as AsyncIterable<Buffer>))
  print('receive of 1 %', statSync(stream).size, received.seconds)
  await db.close()
  rsync(plain, synced)
}

function rsync(source: string, target: string): void {
  const startedMs = performance.now()
  // Without --no-whole-file a local rsync copies everything.
  const options = ['--no-whole-file', '--inplace', '--stats', '--ignore-times']
  const { stdout, status } = spawnSync('rsync', [...options, source, target], { encoding: 'utf8' })
  if (status !== 0) return console.log('rsync is not installed')
  const [, literal = '0'] = /Total bytes sent: ([\d,]+)/.exec(stdout) ?? []
  const [, back = '0'] = /Total bytes received: ([\d,]+)/.exec(stdout) ?? []
  const bytes = [literal, back].reduce((sum, digits) => sum + Number(digits.replaceAll(',', '')), 0)
  print('rsync of the file', bytes, (performance.now() - startedMs) / 1000)
}

async function timed<T>(work: () => Promise<T>): Promise<{ readonly result: T; readonly seconds: number }> {
  const startedMs = performance.now()
  const result = await work()
  return { result, seconds: (performance.now() - startedMs) / 1000 }
}

const print = (name: string, bytes: number, seconds: number): void =>
  console.log(
    `${name.padEnd(30)} ${(bytes / 2 ** 20).toFixed(1).padStart(9)} MiB ${seconds.toFixed(2).padStart(8)} s`,
  )
