import { describe, expect, test } from 'vitest'
import { DirectoryListing, ListingMemory } from '../../../core/file-system/operations/directory-cookies.ts'
import {
  type DirectoryEntry,
  type Fh,
  type Ino,
  name as toName,
  ino as toIno,
} from '../../../core/file-system/operations.ts'
import type { Paths } from '../../tools/paths.ts'
import { memoryPaths } from '../../tools/temporary-database.ts'

/** A directory of files 000 to 199, opened. */
async function open(): Promise<{
  paths: Paths
  ino: Ino
  fh: Fh
  next: (cookie: bigint, limit: number) => Promise<readonly DirectoryEntry[]>
}> {
  const paths = await memoryPaths()
  await paths.mkdir('d')
  const { attributes } = await paths.fs.lookup(toIno(1), toName('d'))
  for (let i = 0; i < 200; i++) await paths.write(`d/${name(i)}`, '')
  const { ino } = attributes
  const fh = await paths.fs.opendir(ino)
  return { paths, ino, fh, next: (cookie, limit) => paths.fs.readdir(ino, fh, cookie, limit) }
}

const name = (i: number): string => String(i).padStart(3, '0')

describe('a directory that changes while it is listed', () => {
  test('lists each remaining entry once during removals and additions', async () => {
    const { paths, next } = await open()
    const seen: string[] = []
    let cookie = 0n
    for (let round = 0; ; round++) {
      const batch = await next(cookie, 7)
      if (batch.length === 0) break
      for (const entry of batch) seen.push(entry.name)
      cookie = batch.at(-1)!.cookie
      // The entry returned last, the next one, and new ones on both sides.
      const at = seen.length - 2
      if (at % 3 === 0 && at < 199) await paths.unlink(`d/${name(at)}`)
      await paths.unlink(`d/${seen.at(-1)!}`).catch(() => undefined)
      await paths.write(`d/000-${round}`, '')
      await paths.write(`d/zzz-${round}`, '')
    }
    const once = new Set(seen)
    expect(once.size).toBe(seen.length)
    for (const left of await paths.list('d')) if (/^\d{3}$/.test(left)) expect(once).toContain(left)
  })

  test('continues from any of its cookies', async () => {
    const { next } = await open()
    const all = await next(0n, 1000)
    for (const at of [0, 1, 2, 50, 201]) {
      const rest = await next(all[at]!.cookie, 1000)
      expect(rest).toEqual(all.slice(at + 1))
    }
  })

  test('continues behind a removed entry', async () => {
    const { paths, next } = await open()
    const all = await next(0n, 1000)
    await paths.unlink(`d/${name(100)}`)
    const [following] = await next(all.find(entry => entry.name === name(100))!.cookie, 1)
    expect(following?.name).toBe(name(101))
  })

  test('restarts at cookie 0 with the current entries', async () => {
    const { paths, next } = await open()
    await next(0n, 1000)
    await paths.unlink(`d/${name(0)}`)
    const again = await next(0n, 1000)
    expect(again).toHaveLength(201)
    expect(again[2]?.name).toBe(name(1))
  })
})

test('an old cookie misses no entry, with bounded memory', () => {
  const listing = new DirectoryListing(new ListingMemory())
  let cookie = 2n
  const count = 200_000
  const cookies: bigint[] = []
  for (let i = 0; i < count; i++)
    cookies.push((cookie = listing.cookieOf(toName(String(i).padStart(7, '0')), cookie)))
  for (const at of [0, 5, 1000, 100_000, count - 1]) {
    const name = listing.nameAt(cookies[at]!)
    expect(Number(name ?? -1)).toBeLessThanOrEqual(at)
    expect(Number(name ?? -1)).toBeGreaterThan(at - 1100)
  }
})

test('20,000 entries are created, listed, looked up and removed', async () => {
  const paths = await memoryPaths()
  await paths.mkdir('d')
  const count = 20_000
  await paths.at('d', async ino => {
    for (let i = 0; i < count; i++) {
      const { attributes } = await paths.fs.mknod(ino, toName(`file${i}`), 0o100644, 0, paths.caller)
      paths.fs.forget(attributes.ino, 1)
    }
    expect(await paths.list('d', 1000)).toHaveLength(count)
    for (let i = 0; i < count; i++) await paths.fs.unlink(ino, toName(`file${i}`))
  })
  expect(await paths.list('d')).toEqual([])
  await paths.fs.sync()
  await paths.rmdir('d')
})

describe('very many open directories', () => {
  /** Lists `count` names in each of the listings, one after another. */
  function list(listings: readonly DirectoryListing[], count: number): bigint[] {
    return listings.map(listing => {
      let cookie = 2n
      for (let i = 0; i < count; i++) cookie = listing.cookieOf(toName(`name ${i}`), cookie)
      return cookie
    })
  }

  test('remember bounded memory in total, and each its last name', () => {
    const memory = new ListingMemory(1_000_000)
    const listings = Array.from({ length: 50 }, () => new DirectoryListing(memory))
    const last = list(listings, 2000)
    expect(memory.bytes).toBeLessThanOrEqual(1_000_000)
    for (const [i, listing] of listings.entries()) expect(listing.nameAt(last[i]!)).toBe('name 1999')
    for (const listing of listings) listing.close()
    expect(memory.bytes).toBe(0)
  })

  test('do not evict the names that an active listing needs', () => {
    const memory = new ListingMemory(100_000)
    const listing = new DirectoryListing(memory)
    const [cookie] = list([listing], 500)
    list(
      Array.from({ length: 20 }, () => new DirectoryListing(memory)),
      500,
    )
    expect(listing.nameAt(cookie! - 50n)).toBe('name 449')
  })

  test('with long names keep those of the last page of entries alone', () => {
    const memory = new ListingMemory(100_000)
    const listings = Array.from({ length: 100 }, () => new DirectoryListing(memory))
    for (const listing of listings) {
      let cookie = 2n
      for (let i = 0; i < 200; i++) cookie = listing.cookieOf(toName(String(i).padStart(240, 'n')), cookie)
      expect(listing.nameAt(cookie - 10n)).toBe(String(189).padStart(240, 'n'))
    }
    // 16 names each.
    expect(memory.bytes).toBeLessThan(100 * 17 * (80 + 240))
  })
})
