/** Random operations on a filesystem: what they are, and how they are done by path. */
import * as fc from 'fast-check'
import { name as toName } from '../../core/file-system/operations.ts'
import { codeOf, type OpenedFile, type Paths } from './paths.ts'

/** What a step of the kind `aside` renames what it replaces to. */
export const ASIDE = 'd'

export type Step =
  | { readonly do: 'mkdir' | 'unlink' | 'rmdir'; readonly path: string }
  | {
      readonly do: 'write'
      readonly path: string
      readonly off: number
      readonly length: number
      readonly fill: number
    }
  | { readonly do: 'truncate'; readonly path: string; readonly off: number }
  | { readonly do: 'punch'; readonly path: string; readonly off: number; readonly length: number }
  | { readonly do: 'rename' | 'exchange' | 'aside' | 'link'; readonly path: string; readonly to: string }
  | {
      readonly do: 'copy'
      readonly path: string
      readonly to: string
      readonly off: number
      readonly length: number
    }
  | { readonly do: 'sync' | 'reopen' }

const name = fc.constantFrom('a', 'b', 'c', 'd')
const path = fc.oneof(
  name,
  fc.tuple(name, name).map(parts => parts.join('/')),
  fc.tuple(name, name, name).map(parts => parts.join('/')),
)
const off = fc.oneof(fc.nat(20_000), fc.constantFrom(4096, 8192, 2 << 20, (2 << 20) - 5, (4 << 20) + 4096))
const length = fc.oneof(fc.nat(10_000), fc.constantFrom(4096, 8192, 70_000))

export const step: fc.Arbitrary<Step> = fc.oneof(
  fc.record({ do: fc.constant('mkdir' as const), path }),
  fc.record({ do: fc.constant('write' as const), path, off, length, fill: fc.integer({ min: 1, max: 255 }) }),
  fc.record({ do: fc.constant('truncate' as const), path, off }),
  fc.record({ do: fc.constant('punch' as const), path, off, length }),
  fc.record({ do: fc.constant('unlink' as const), path }),
  fc.record({ do: fc.constant('rmdir' as const), path }),
  fc.record({ do: fc.constant('rename' as const), path, to: path }),
  fc.record({ do: fc.constant('exchange' as const), path, to: path }),
  fc.record({ do: fc.constant('aside' as const), path, to: path }),
  fc.record({ do: fc.constant('link' as const), path, to: path }),
  fc.record({ do: fc.constant('copy' as const), path, to: path, off, length }),
  fc.record({ do: fc.constant('sync' as const) }),
  fc.record({ do: fc.constant('reopen' as const) }),
)

const PUNCH = { keepSize: true, punchHole: true, zeroRange: false }

async function withOpen<T>(paths: Paths, path: string, use: (file: OpenedFile) => Promise<T>): Promise<T> {
  const file = await paths.open(path)
  try {
    return await use(file)
  } finally {
    await paths.close(file)
  }
}

/** Does a step; the code that it fails with, or 'nothing'. */
export function perform(paths: Paths, one: Step): Promise<string> {
  const { fs } = paths
  return codeOf(async () => {
    switch (one.do) {
      case 'mkdir':
        return await paths.mkdir(one.path)
      case 'write':
        return await paths.write(one.path, Buffer.alloc(one.length, one.fill), BigInt(one.off))
      case 'truncate':
        return await paths.truncate(one.path, BigInt(one.off))
      case 'punch':
        return await withOpen(paths, one.path, file =>
          fs.allocate(file.ino, file.fh, PUNCH, BigInt(one.off), BigInt(one.length + 1)),
        )
      case 'unlink':
        return await paths.unlink(one.path)
      case 'rmdir':
        return await paths.rmdir(one.path)
      case 'rename':
        return await paths.rename(one.path, one.to)
      case 'exchange':
        return await paths.rename(one.path, one.to, { exchange: true })
      case 'aside':
        return await paths.rename(one.path, one.to, { aside: toName(ASIDE) })
      case 'link':
        return await paths.link(one.path, one.to)
      case 'copy':
        return await withOpen(paths, one.path, from =>
          withOpen(paths, one.to, to =>
            fs.copyFileRange(
              { ...from, off: BigInt(one.off) },
              { ...to, off: 1n << 23n },
              BigInt(one.length),
            ),
          ),
        )
      case 'reopen':
      case 'sync':
        await fs.sync()
    }
  })
}
