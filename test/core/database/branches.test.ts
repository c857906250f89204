import { expect, onTestFinished, test, vi } from 'vitest'
import { makeBranch } from '../../../core/database/branches.ts'
import type { TagInfo } from '../../../core/database/history.ts'
import { open } from '../../../index.ts'
import { branchPath } from '../../../store/branches.ts'
import { temporaryDatabase } from '../../tools/temporary-database.ts'

test('a branch that another process has made meanwhile is left as it is', async () => {
  const db = await open(temporaryDatabase(), { create: true })
  onTestFinished(() => db.close())
  await db.files.writeFile('/file', 'base')
  const at = await db.sync()
  const sync = db.sync.bind(db)
  vi.spyOn(db, 'sync').mockImplementationOnce(async () => {
    await makeBranch(db, 'b', at)
    return await sync()
  })
  await expect(makeBranch(db, 'b', at)).rejects.toMatchObject({ code: 'branch-exists' })
  const tags: TagInfo[] = []
  for await (const tag of db.tags()) tags.push(tag)
  expect(tags).toMatchObject([{ name: 'branch:b', tid: at, held: true }])
  const branch = await open(branchPath(db.name, 'b'))
  onTestFinished(() => branch.close())
  expect(await branch.files.readFile('/file', 'utf8')).toBe('base')
})
