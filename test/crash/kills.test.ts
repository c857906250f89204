/** A killed daemon loses no synced data. `npm run test:crash -- --kills N --seed S` kills more often. */
import { randomBytes } from 'node:crypto'
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { expect, onTestFinished, test } from 'vitest'
import { setKeySource } from '../../store/database-key.ts'
import { Random } from '../stress/random.ts'
import { hasBucketDatabases, makeBucketDatabase } from '../tools/bucket-database.ts'
import { killRepeatedly } from './kills.ts'

const KILLS = Number(process.env['CRASH_KILLS'] ?? 50)
const SERVER_KILLS = Math.ceil(KILLS / 10)
const SEED = Number(process.env['CRASH_SEED'] ?? Random.seed())

/** Options of an encrypted and compressed mount, whose key this process has, too. */
function encrypted(): readonly string[] {
  const directory = mkdtempSync(join(tmpdir(), 'zblkfs-key-'))
  const key = join(directory, 'key')
  writeFileSync(key, randomBytes(32))
  setKeySource(async () => ({ kind: 'file', bytes: readFileSync(key) }))
  onTestFinished(() => {
    setKeySource(undefined)
    rmSync(directory, { recursive: true })
  })
  return ['encryption=aes-256-gcm', `key_file=${key}`, 'compression=zstd']
}

test(
  `after ${KILLS} kills of the daemon the tree is a prefix of what was done, all that was synced in it (CRASH_SEED=${SEED})`,
  { timeout: 900_000 },
  async () => {
    const result = await killRepeatedly({ kills: KILLS, seed: SEED })
    console.log(JSON.stringify(result))
    // Without an interrupted activity the test would be void.
    expect(result.operations).toBeGreaterThan(10 * KILLS)
    expect(result.killsWithLoss).toBeGreaterThan(0)
    expect(result.inCommits + result.inCheckpoints + result.inPacks).toBeGreaterThan(0)
  },
)

test(
  `after ${KILLS / 5} kills an encrypted and compressed database is as whole (CRASH_SEED=${SEED})`,
  { timeout: 900_000 },
  async () => {
    const options = encrypted()
    const result = await killRepeatedly({ kills: Math.ceil(KILLS / 5), seed: SEED, options })
    console.log(JSON.stringify(result))
    expect(result.operations).toBeGreaterThan(KILLS / 5)
  },
)

test.skipIf(!hasBucketDatabases)(
  `after ${SERVER_KILLS} kills an encrypted and compressed database on a server with a bucket is as whole (CRASH_SEED=${SEED})`,
  { timeout: 900_000 },
  async () => {
    const { db, options, remove } = await makeBucketDatabase()
    onTestFinished(remove)
    const result = await killRepeatedly({
      kills: SERVER_KILLS,
      seed: SEED,
      db,
      options: [...encrypted(), ...options],
    })
    console.log(JSON.stringify(result))
    expect(result.operations).toBeGreaterThan(SERVER_KILLS)
  },
)
