import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { describe, expect, it } from 'vitest'
import { ImportMap } from '../../core/foreign/import/import-map.ts'
import { oid, tid } from '../../store/ids.ts'
import { temporaryDirectory } from '../mount/zodb/foreign-paths.ts'
import { ZBLKFS } from '../tools/run-zblkfs.ts'
import { openPaths } from '../tools/temporary-database.ts'
import { DATABASES, difference } from './manifest.ts'

const yes = async (): Promise<boolean> => true
const no = async (): Promise<boolean> => false

/** A map with one step that holds, and a second that may. */
async function twoSteps(path: string): Promise<void> {
  const map = await ImportMap.open(path, no)
  map.purpose = 'a test'
  map.add(oid(10), oid(1), oid(10))
  map.seePath('a', oid(10), tid(5n))
  map.done = tid(5n)
  map.prepareStep(tid(100n))
  map.endStep()
  map.setCopied(oid(10), tid(6n))
  map.setWritten(oid(10), tid(101n))
  map.add(oid(11), oid(2), oid(10))
  map.setInode(oid(10), oid(3))
  map.seePath('b', oid(10), tid(6n))
  expect(map.takeVanished(tid(6n))).toEqual({ name: 'a', file: 10 })
  map.done = tid(6n)
  map.prepareStep(tid(101n))
  map.close()
}

describe("an import's map", () => {
  it('contains a step that was committed', async () => {
    const path = join(temporaryDirectory(), 'map')
    await twoSteps(path)
    const map = await ImportMap.open(path, yes)
    expect(map.done).toBe(6n)
    expect(map.get(oid(10))?.written).toBe(101n)
    expect(map.get(oid(11))?.ours).toBe(2)
    expect([...map.paths()]).toEqual([{ name: 'b', file: 10 }])
    map.close()
  })

  it('is unchanged by a step that was not committed', async () => {
    const path = join(temporaryDirectory(), 'map')
    await twoSteps(path)
    const map = await ImportMap.open(path, async step => step !== tid(101n))
    expect(map.purpose).toBe('a test')
    expect(map.done).toBe(5n)
    expect(map.get(oid(10))).toEqual({ oid: 10, ours: 1, file: 10, written: 0n })
    expect(map.get(oid(11))).toBeUndefined()
    expect(map.file(oid(10))?.inode).toBeUndefined()
    expect([...map.paths()]).toEqual([{ name: 'a', file: 10 }])
    expect(map.nextToCopy(5).map(each => each.oid)).toEqual([10])
    map.close()
    const again = await ImportMap.open(path, yes)
    expect(again.done).toBe(5n)
    again.close()
  })
})

describe('an import that is killed', () => {
  it('continues from its last step after any number of interruptions', async () => {
    const database = DATABASES[0]!
    const path = join(temporaryDirectory(), 'db')
    let kills = 0
    for (let patienceMs = 100; ; patienceMs *= 1.15) {
      const child = spawn(ZBLKFS, ['import', database.path, path, '--history'], {
        stdio: ['ignore', 'ignore', 'pipe'],
      })
      const ended = once(child, 'close')
      let printed = ''
      child.stderr.setEncoding('utf8').on('data', text => (printed += text))
      await Promise.race([ended, sleep(patienceMs)])
      if (child.exitCode !== null) {
        // The last one may have been killed when nothing was left to do.
        if (child.exitCode !== 0) expect(printed).toContain('has the history of')
        break
      }
      child.kill('SIGKILL')
      await ended
      kills++
    }
    expect(kills).toBeGreaterThan(1)
    const { files, txns } = database.manifest()
    const paths = await openPaths(path)
    for (const { tid, files: states } of txns)
      for (const [name, state] of Object.entries(states))
        expect(
          difference(await paths.read(`@${tid}/${name}`), state, files[name]!.blksize),
          `${name} at ${tid}`,
        ).toBeUndefined()
  }, 240_000)
})
