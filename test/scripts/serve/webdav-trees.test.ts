/** COPY and MOVE onto a directory, when the server is killed after any number of steps. */
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, expect, test } from 'vitest'
import { open, type Database, type Files } from '../../../index.ts'
import { copyOver, moveTo } from '../../../scripts/serve/webdav/trees.ts'

let scratch: string
let database: Database
beforeEach(async () => {
  scratch = await mkdtemp(join(tmpdir(), 'zblkfs-webdav-'))
  database = await open(join(scratch, 'data.zblk'), { create: true })
})
afterEach(async () => {
  await database.close()
  await rm(scratch, { recursive: true, force: true })
})

const segments = (path: string): readonly Buffer[] => path.split('/').map(name => Buffer.from(name))

/** Files whose methods fail from the call number `count` on, as those of a killed server. */
function killedAfter(
  files: Files,
  count: number,
): { readonly files: Files; readonly isKilled: () => boolean } {
  let calls = 0
  const killed = new Proxy(files, {
    get: (target, key) => {
      const method: unknown = Reflect.get(target, key)
      if (typeof method !== 'function') return method
      return (...parameters: unknown[]): unknown => {
        if (++calls > count) throw new Error('killed')
        return Reflect.apply(method, target, parameters)
      }
    },
  })
  return { files: killed, isKilled: () => calls > count }
}

async function namesIn(directory: string): Promise<readonly string[]> {
  const { files } = database
  return await files.readdir(directory).catch(() => [])
}

const isOld = (names: readonly string[]): boolean => names.toString() === 'old1,old2'
const isNew = (names: readonly string[]): boolean => names.toString() === 'new1,new2,sub'

test.each(['move', 'copy'] as const)(
  '%s: the destination is old or new, whenever the server is killed',
  async kind => {
    for (let count = 0, isDone = false; !isDone; count++) {
      const { files } = database
      const top = `/${count}`
      for (const directory of ['from/sub', 'to'])
        await files.mkdir(`${top}/${directory}`, { recursive: true })
      for (const name of ['from/new1', 'from/new2', 'from/sub/new3', 'to/old1', 'to/old2'])
        await files.writeFile(`${top}/${name}`, name)
      const { files: killed, isKilled } = killedAfter(files, count)
      const [from, to] = [segments(`${count}/from`), segments(`${count}/to`)]
      const work =
        kind === 'move'
          ? moveTo(killed, from, to, true)
          : copyOver(killed, from, to, { isDeep: true, isTree: true })
      await work.catch(() => undefined)
      isDone = !isKilled()
      const [source, target] = [await namesIn(`${top}/from`), await namesIn(`${top}/to`)]
      expect([count, isOld(target) || isNew(target)]).toEqual([count, true])
      expect([count, isNew(source) || (kind === 'move' && isNew(target))]).toEqual([count, true])
      if (isNew(target)) expect(await files.readFile(`${top}/to/sub/new3`, 'utf8')).toBe('from/sub/new3')
      if (isDone) expect(await files.readdir(top)).toEqual(kind === 'move' ? ['to'] : ['from', 'to'])
    }
  },
)
