import { describe, expect, it } from 'vitest'
import { DATABASES, difference } from '../../zodb/manifest.ts'
import { codeOf } from '../../tools/paths.ts'
import { fileStoragePaths } from './foreign-paths.ts'

describe.each(DATABASES)('a mount of $name', ({ path, missing, manifest }) => {
  it.skipIf(missing)('shows every file as it was at every transaction', async () => {
    const { files, txns } = manifest()
    const paths = await fileStoragePaths(path)
    expect(await paths.list('root')).toEqual(Object.keys(files).sort())
    for (const { tid, files: states } of txns)
      for (const [name, state] of Object.entries(states)) {
        const { blksize } = files[name]!
        const bytes = await paths.read(`@${tid}/root/${name}`)
        expect(difference(bytes, state, blksize), `${name} at ${tid}`).toBeUndefined()
      }
  })

  it.skipIf(missing)('shows the newest state, by name and by oid', async () => {
    const { files, txns } = manifest()
    const paths = await fileStoragePaths(path)
    expect(await paths.read('.zblkfs/at').then(String)).toBe(`${txns.at(-1)!.tid}\n`)
    for (const [name, state] of Object.entries(txns.at(-1)!.files)) {
      const { oid, blksize } = files[name]!
      const byOid = `bigfile/${oid.toString(16).padStart(16, '0')}`
      for (const each of [`root/${name}`, byOid])
        expect(difference(await paths.read(each), state, blksize), each).toBeUndefined()
      expect((await paths.stat(byOid)).size).toBe(BigInt(state.size))
    }
  })

  it.skipIf(missing)('finds holes where no block is', async () => {
    const { files, txns } = manifest()
    const paths = await fileStoragePaths(path)
    for (const [name, { size, blocks }] of Object.entries(txns.at(-1)!.files)) {
      const blksize = BigInt(files[name]!.blksize)
      const stored = new Set(blocks.map(({ blk }) => BigInt(blk)))
      const opened = await paths.open(`root/${name}`, 0)
      for (let off = 0n; off < size; off += blksize)
        if (!stored.has(off / blksize))
          expect(await paths.fs.seek(opened.ino, opened.fh, off, 'hole')).toBe(off)
      let off = 0n
      const covered = new Set<bigint>()
      for (;;) {
        const data = await paths.fs.seek(opened.ino, opened.fh, off, 'data').catch(() => undefined)
        if (data === undefined) break
        const end = await paths.fs.seek(opened.ino, opened.fh, data, 'hole')
        expect(end).toBeGreaterThan(data)
        for (let blk = data / blksize; blk * blksize < end; blk++) covered.add(blk)
        off = end
        if (off >= size) break
      }
      for (const blk of covered) expect(stored.has(blk), `${name}: block ${blk}`).toBe(true)
      await paths.close(opened)
    }
  })
})

describe('a mount of a ZODB database', () => {
  const [tiny] = DATABASES

  it('has a root and an empty bigfile directory', async () => {
    const paths = await fileStoragePaths(tiny!.path)
    expect(await paths.list('')).toEqual(['bigfile', 'root'])
    expect(await paths.list('bigfile')).toEqual([])
    expect(await codeOf(paths.stat('bigfile/00000000000000ff0'))).toBe('ENOENT')
    expect(await codeOf(paths.stat('bigfile/0000000000000000'))).toBe('ENOENT')
    expect(await codeOf(paths.stat('bigfile/ffffffffffffffff'))).toBe('ENOENT')
    expect(await codeOf(paths.stat('bigfile/00000000000fffff'))).toBe('ENOENT')
  })

  it('is read-only', async () => {
    const paths = await fileStoragePaths(tiny!.path)
    expect(await codeOf(paths.write('root/A', 'x'))).toBe('EROFS')
    expect(await codeOf(paths.open('root/A'))).toBe('EROFS')
    expect(await codeOf(paths.mkdir('root/new'))).toBe('EROFS')
    expect(await codeOf(paths.unlink('root/A'))).toBe('EROFS')
    expect(await codeOf(paths.truncate('root/A', 0n))).toBe('EROFS')
  })

  it('has no moment before the first transaction or after the last', async () => {
    const paths = await fileStoragePaths(tiny!.path)
    expect(await codeOf(paths.stat('@0000000000000001'))).toBe('ENOENT')
    expect(await codeOf(paths.stat('@7000000000000001'))).toBe('ENOENT')
    expect(await codeOf(paths.stat('@no-such-tag'))).toBe('ENOENT')
    expect(await paths.list('@1h')).toEqual(['bigfile', 'root'])
  })

  it('has stable inode numbers, and different ones in the past', async () => {
    const one = await fileStoragePaths(tiny!.path)
    const other = await fileStoragePaths(tiny!.path)
    const { ino } = await one.stat('root/A')
    expect((await other.stat('root/A')).ino).toBe(ino)
    expect((await one.stat('@1h/root/A')).ino).not.toBe(ino)
    await one.at('root', async directory => {
      const fh = await one.fs.opendir(directory)
      const entries = await one.fs.readdir(directory, fh, 0n, 100)
      expect(entries.find(({ name }) => name === ('A' as never))?.ino).toBe(ino)
      await one.fs.releasedir(directory, fh)
    })
  })

  it('shows a single moment if mounted at it', async () => {
    const { files, txns } = tiny!.manifest()
    const { tid, files: states } = txns[2]!
    const paths = await fileStoragePaths(tiny!.path, { at: tid })
    expect(await paths.read('.zblkfs/at').then(String)).toBe(`${tid}\n`)
    for (const [name, state] of Object.entries(states))
      expect(difference(await paths.read(`root/${name}`), state, files[name]!.blksize)).toBeUndefined()
    await expect(fileStoragePaths(tiny!.path, { at: 'no-such-tag' })).rejects.toThrow(
      "no moment 'no-such-tag'",
    )
  })
})
