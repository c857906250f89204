/** Data of several kinds, for measurements of compression. */
import { randomFillSync } from 'node:crypto'
import { closeSync, globSync, openSync, readFileSync, statSync, writeSync } from 'node:fs'
import { join } from 'node:path'
import { MIB } from './measure.ts'

export const DATA_KINDS = [
  'virtual machine',
  'git checkout',
  'numpy float64',
  'numpy int32',
  'random',
] as const

export type DataKind = (typeof DATA_KINDS)[number]

/** Writes a file of `bytes`. */
export function writeData(path: string, kind: DataKind, bytes: number): void {
  const fd = openSync(path, 'w')
  try {
    const pieces = piecesOf(kind)
    for (let left = bytes; left > 0;) {
      const piece = pieces.next().value.subarray(0, left)
      writeSync(fd, piece)
      left -= piece.length
    }
  } finally {
    closeSync(fd)
  }
}

function piecesOf(kind: DataKind): Iterator<Buffer, never> {
  switch (kind) {
    case 'virtual machine':
      return image()
    case 'git checkout':
      return files([join(import.meta.dirname, '../../{core,store,mount,test,docs}/**/*')], 512)
    case 'numpy float64':
      return walk()
    case 'numpy int32':
      return counters()
    case 'random':
      return noise()
    default:
      return kind satisfies never
  }
}

/** Programs and libraries of this system, with a quarter of zeros between them, as in an image of a system's disk. */
function* image(): Generator<Buffer, never> {
  const libraries = files(
    ['/usr/bin/*', '/usr/lib/x86_64-linux-gnu/*.so*', '/usr/lib/aarch64-linux-gnu/*.so*'],
    4096,
  )
  for (;;) {
    for (let i = 0; i < 3; i++) yield libraries.next().value
    yield Buffer.alloc(MIB)
  }
}

/** Files, each padded to a multiple of `align`, again and again. */
function* files(patterns: readonly string[], align: number): Generator<Buffer, never> {
  const paths = globSync(patterns).filter(
    path => statSync(path, { throwIfNoEntry: false })?.isFile() === true,
  )
  if (paths.length === 0) throw new Error(`no file is named ${patterns.join(', ')}`)
  for (;;)
    for (const path of paths.toSorted()) {
      const content = readFileSync(path)
      if (content.length === 0) continue
      yield Buffer.concat([content, Buffer.alloc((align - (content.length % align)) % align)])
    }
}

/** A measured quantity that changes slowly, with three digits. */
function* walk(): Generator<Buffer, never> {
  for (let value = 20; ;) {
    const numbers = Float64Array.from({ length: MIB / 8 }, () => {
      value += Math.random() - 0.5
      return Math.round(value * 1000) / 1000
    })
    yield Buffer.from(numbers.buffer)
  }
}

/** Ascending numbers with gaps, such as times or offsets. */
function* counters(): Generator<Buffer, never> {
  for (let value = 0; ;) {
    const numbers = Int32Array.from({ length: MIB / 4 }, () => (value += 1 + Math.floor(Math.random() * 8)))
    yield Buffer.from(numbers.buffer)
  }
}

function* noise(): Generator<Buffer, never> {
  for (;;) yield randomFillSync(Buffer.allocUnsafeSlow(MIB))
}
