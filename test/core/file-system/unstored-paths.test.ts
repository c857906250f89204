/** What is not stored, by paths. */
import { describe, expect, test } from 'vitest'
import { FileSystem } from '../../../core/file-system/file-system.ts'
import { openSqliteStore } from '../../../store/sqlite/open/open-sqlite-store.ts'
import { Paths } from '../../tools/paths.ts'
import { temporaryDatabase } from '../../tools/temporary-database.ts'

describe('unstored paths', () => {
  test.each([false, true])(
    'are those of files, directories and names (a commit has failed: %s)',
    async hasFailed => {
      const store = await openSqliteStore(temporaryDatabase(), { create: true })
      if (store.readOnly) throw new Error('a store for writing')
      const fs = await FileSystem.open(store, { commitIntervalMs: 1e9 })
      const paths = new Paths(fs)
      for (const name of ['kept', 'changed', 'removed', 'old', 'replaced', 'by'])
        await paths.write(name, Buffer.alloc(100_000, 1))
      await paths.mkdir('dir')
      await paths.write('dir/kept', 'x')
      await paths.write('dir/changed', 'x')
      await paths.mkdir('moved')
      await paths.write('moved/inside', 'x')
      await paths.mkdir('gone')
      await paths.write('gone/inside', 'x')
      await fs.sync()
      expect(await fs.unstoredPaths()).toEqual([])
      const commit = store.commit.bind(store)
      store.commit = () => Promise.reject(new Error('fenced'))
      await paths.write('changed', 'y', 50_000n)
      await paths.write('dir/changed', 'y')
      await paths.link('kept', 'dir/also kept')
      await paths.link('kept', 'dir/and again')
      await paths.mkdir('dir/new')
      await paths.write('dir/new/file', 'z')
      await paths.unlink('removed')
      await paths.rename('old', 'new')
      await paths.rename('by', 'replaced')
      await paths.rename('moved', 'dir/moved')
      await paths.unlink('gone/inside')
      await paths.rmdir('gone')
      if (hasFailed) await expect(fs.sync()).rejects.toThrow('fenced')
      const found = await fs.unstoredPaths()
      expect(found.filter(({ path }) => path !== '')).toEqual([
        { kind: 'changed', path: 'changed' },
        { kind: 'changed', path: 'dir' },
        { kind: 'changed', path: 'dir/also kept' },
        { kind: 'changed', path: 'dir/and again' },
        { kind: 'changed', path: 'dir/changed' },
        { kind: 'renamed', path: 'dir/moved', from: 'moved' },
        { kind: 'changed', path: 'dir/new' },
        { kind: 'changed', path: 'dir/new/file' },
        { kind: 'removed', path: 'gone' },
        { kind: 'removed', path: 'gone/inside' },
        { kind: 'renamed', path: 'new', from: 'old' },
        { kind: 'removed', path: 'removed' },
        { kind: 'renamed', path: 'replaced', from: 'by' },
      ])
      store.commit = commit
      await fs.sync()
      expect(await fs.unstoredPaths()).toEqual([])
      await fs.close()
    },
  )
})
