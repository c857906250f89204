/** Mounts of a database on a server with a bucket. */
import { mkdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { describe, expect, onTestFinished, test } from 'vitest'
import { killRepeatedly } from '../crash/kills.ts'
import { Random } from '../stress/random.ts'
import { runFsx } from '../stress/run-fsx.ts'
import { hasBucketDatabases, makeBucketDatabase, type BucketDatabase } from '../tools/bucket-database.ts'
import { withMount } from '../tools/mounted.ts'
import { makePostgresDatabase } from '../tools/postgres-server.ts'
import { runProgram, runZblkfs } from '../tools/run-zblkfs.ts'
import { makeBucket } from '../tools/swift-server.ts'
import { bytes, statusOf, storeSynced, succeed, useEveryCommand } from './every-command.ts'

const KILLS = Number(process.env['CRASH_BUCKET_KILLS'] ?? 4)
const SEED = Number(process.env['CRASH_SEED'] ?? Random.seed())
const FSX_OPERATIONS = 2000

describe.skipIf(!hasBucketDatabases)('a mount of a database on a server with a bucket', () => {
  const make = async (): Promise<BucketDatabase> => {
    const made = await makeBucketDatabase()
    onTestFinished(async () => await made.remove())
    return made
  }

  test('files, history and every command', async () => {
    const { db, options, bucket } = await make()
    await withMount({ driver: 'kernel', db, options }, useEveryCommand)
    expect((await bucket.client.list('segments/', '', 10)).length).toBeGreaterThan(0)
  })

  test('a read-only mount follows the writer, and reads its uploads', async () => {
    const { db, options } = await make()
    await withMount({ driver: 'kernel', db, options }, async ({ dir, scratch }) => {
      const reading = join(scratch, 'reading')
      mkdirSync(reading)
      await succeed('mount', '-o', `ro,${options.slice(1).join(',')}`, db, reading)
      try {
        for (let round = 1; round < 4; round++) {
          const content = bytes(5_000_000 * round, round)
          storeSynced(join(dir, 'file'), content)
          await succeed('sync', dir)
          await expect
            .poll(() => readFileSync(join(reading, 'file')).equals(content), { timeout: 20_000 })
            .toBe(true)
        }
      } finally {
        await runProgram('umount', ['-l', reading])
      }
    })
  })

  test('a database is copied into a bucket with its history, and back', async () => {
    await withMount({ driver: 'kernel' }, async mount => {
      const { db, dir, scratch } = mount
      const content = bytes(12_000_000, 5)
      storeSynced(join(dir, 'big'), content)
      await succeed('sync', '-m', 'the first', dir)
      await succeed('clone', join(dir, 'big'), join(dir, 'copy'))
      storeSynced(join(dir, 'small'), 'small')
      await mount.unmount()
      const database = await makePostgresDatabase()
      const bucket = await makeBucket()
      try {
        expect(await succeed('copy', db, database.url, '--bulk', bucket.url)).toContain('all are the same')
        const objects = await bucket.client.list('segments/', '', 100)
        const stored = objects.reduce((sum, object) => sum + object.bytes, 0)
        // The clone shares its bytes.
        expect(stored).toBeGreaterThan(11_000_000)
        expect(stored).toBeLessThan(14_000_000)
        expect(await succeed('fsck', '--data', database.url)).toContain('is clean')
        const back = join(scratch, 'back.zblk')
        await succeed('copy', database.url, back)
        expect(await succeed('log', back)).toContain('the first')
        const refused = await runZblkfs('copy', db, join(scratch, 'other.zblk'), '--bulk', bucket.url)
        expect(refused).toMatchObject({ exitCode: 1 })
        expect(refused.stderr).toContain('bulk= is for a database on a server')
      } finally {
        bucket.remove()
        await database.remove()
      }
    })
  })

  test('wrong places and credentials are refused with one line, and nothing is created', async () => {
    const { db, bucket } = await make()
    const scratch = join(import.meta.dirname, '..')
    const refusal = async (option: string, env: NodeJS.ProcessEnv = {}): Promise<string> => {
      const before = { ...process.env }
      Object.assign(process.env, env)
      try {
        const { exitCode, stderr } = await runZblkfs('mount', '-o', option, db, scratch)
        expect(exitCode).not.toBe(0)
        expect(stderr.trim().split('\n')).toHaveLength(1)
        return stderr
      } finally {
        process.env = before
      }
    }
    expect(await refusal('nonempty,bulk=s3://no-such-bucket/x?endpoint=' + bucket.endpoint)).toContain(
      'create it',
    )
    expect(await refusal(`nonempty,bulk=${bucket.url}`, { AWS_SECRET_ACCESS_KEY: 'wrong-secret' })).toMatch(
      /refuses the credentials(?!.*wrong-secret)/,
    )
    expect(await refusal('nonempty,bulk=s3://key:secret@bucket/x')).toMatch(/credentials(?!.*key:secret)/)
    expect(await refusal('nonempty,cache_dir=relative')).toContain('absolute')
    expect(await runZblkfs('log', db)).toMatchObject({ exitCode: 1 })
  })

  test(`fsx finds nothing in ${FSX_OPERATIONS} operations`, async () => {
    const { db, options } = await make()
    await withMount({ driver: 'kernel', db, options }, async mount => {
      const moment = async (path: string): Promise<string> => {
        const tid = /[0-9a-f]{16}/.exec(await succeed('sync', mount.dir))?.[0] ?? ''
        return path.replace(mount.dir, `${mount.dir}/@${tid}`)
      }
      const run = await runFsx(
        mount.dir,
        { operations: FSX_OPERATIONS, timeoutMs: 200_000 },
        { remount: () => mount.remount(), moment },
      )
      expect(run.code, run.output).toBe(0)
      expect((await statusOf(mount.dir))?.connection).toEqual({ state: 'connected' })
    })
  })

  test(`after ${KILLS} kills of the daemon all synced data is there (CRASH_SEED=${SEED})`, async () => {
    const { db, options } = await make()
    const result = await killRepeatedly({ kills: KILLS, seed: SEED, db, options })
    expect(result.operations).toBeGreaterThan(KILLS)
  })
})
