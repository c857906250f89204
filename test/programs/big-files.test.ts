/**
 * Files of gigabytes: copied in, read back, there after a remount, and equal at random places.
 * ZBLKFS_BIG_MIB says how big (256 by default, so that a run stays short; `npm run test:big` takes 4096).
 */
import { open } from 'node:fs/promises'
import { join } from 'node:path'
import { describe, expect, it } from 'vitest'
import { Random } from '../stress/random.ts'
import { withPlace, type Place } from './place.ts'
import { sh } from './program.ts'

const MIB = Number(process.env['ZBLKFS_BIG_MIB'] ?? 256)
const TIMEOUT_MS = 60_000 + MIB * 500
const RANDOM_READS = 300
const READ_MAX_BYTES = 300_000

/** Bytes that do not compress, the same for the same seed, faster than /dev/urandom. */
const makeSource = (place: Place, seed: number): Promise<string> =>
  sh(`head -c ${MIB}M /dev/zero | openssl enc -aes-128-ctr -pass pass:${seed} -nosalt 2>/dev/null > source`, {
    cwd: place.scratch,
    timeoutMs: TIMEOUT_MS,
  })

const sha256 = (path: string): Promise<string> => sh(`sha256sum < ${path}`, { timeoutMs: TIMEOUT_MS })

async function expectEqualAtRandomPlaces(copy: string, source: string, seed: number): Promise<void> {
  const random = new Random(seed)
  await using a = await open(copy)
  await using b = await open(source)
  for (let i = 0; i < RANDOM_READS; i++) {
    const len = 1 + random.below(READ_MAX_BYTES)
    const off = random.below(MIB * 2 ** 20)
    const [ours, theirs] = await Promise.all([
      a.read(Buffer.alloc(len), 0, len, off),
      b.read(Buffer.alloc(len), 0, len, off),
    ])
    expect(ours.bytesRead, `bytes read at ${off}, seed ${seed}`).toBe(theirs.bytesRead)
    expect(ours.buffer.equals(theirs.buffer), `[${off}, ${off + len}), seed ${seed}`).toBe(true)
  }
}

describe('a big file', () => {
  it.each(['cp source mnt/copy', 'dd if=source of=mnt/copy bs=1M'])(
    'copied in by "%s" is the same before and after a remount, as a whole and at random places',
    async command => {
      await withPlace(async place => {
        const seed = Random.seed()
        await makeSource(place, seed)
        const [source, copy] = [join(place.scratch, 'source'), join(place.dir, 'copy')]
        await sh(command, { cwd: place.scratch, timeoutMs: TIMEOUT_MS })
        const expected = await sha256(source)
        expect(await sha256(copy)).toBe(expected)
        await place.remount()
        await expectEqualAtRandomPlaces(copy, source, seed)
        expect(await sha256(copy)).toBe(expected)
      })
    },
    2 * TIMEOUT_MS,
  )

  it('of 1 TiB with data at its end takes only the space of the data', async () => {
    await withPlace(async ({ dir, remount }) => {
      const path = join(dir, 'sparse')
      await sh(
        `truncate -s 1T ${path} && printf far-end | dd of=${path} bs=1 seek=$((2**40 - 7)) conv=notrunc`,
      )
      await remount()
      expect(await sh(`stat -c %s ${path}; tail -c 7 ${path}`)).toBe(`${2 ** 40}\nfar-end`)
      expect(await sh(`head -c 1M ${path} | tr -d '\\0' | wc -c`)).toBe('0')
      expect(Number(await sh(`stat -c %b ${path}`))).toBeLessThanOrEqual(16)
    })
  })
})
