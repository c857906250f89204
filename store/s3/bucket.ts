/** The part of a bucket that belongs to one database: the object `database` has its id. */
import { CannotOpenError } from '../errors.ts'
import type { S3Client } from './client.ts'
import { epochStart, parseSegmentKey, SEGMENTS } from './segment.ts'

const MARK = 'database'
const PAGE = 1000

const markOf = (databaseId: string): string => `zblkfs database ${databaseId}\n`

/** Assigns an unused prefix of a bucket to a new database. @throws CannotOpenError if it is in use; StoreError */
export async function claimBucket(client: S3Client, databaseId: string): Promise<void> {
  if ((await client.text(MARK)) === markOf(databaseId)) return
  await assertUnused(client)
  await client.put(MARK, [Buffer.from(markOf(databaseId))])
  await assertBucket(client, databaseId)
}

/** @throws CannotOpenError if a prefix has objects; StoreError */
export async function assertUnused(client: S3Client): Promise<void> {
  const found = await client.text(MARK)
  const [other] = found === undefined ? await client.list('', '', 1) : []
  if (found !== undefined || other !== undefined)
    throw new CannotOpenError(
      `${client.place} has objects of ${found === undefined ? `something else (${other?.key})` : 'another database'}: name another prefix`,
      { code: 'not-a-database', path: client.place },
    )
}

/** @throws CannotOpenError if a prefix does not belong to a database; StoreError */
export async function assertBucket(client: S3Client, databaseId: string): Promise<void> {
  const found = await client.text(MARK)
  if (found === markOf(databaseId)) return
  throw new CannotOpenError(
    found === undefined
      ? `${client.place} has no object '${MARK}', which every database keeps there: its objects were removed, or moved elsewhere`
      : `${client.place} belongs to another database`,
    { code: 'not-a-database', path: client.place },
  )
}

/** The last epoch after `epoch` that has segments; undefined if none has. @throws StoreError */
export async function newestEpochAfter(client: S3Client, epoch: number): Promise<number | undefined> {
  let newest: number | undefined
  for (let last = epochStart(epoch + 1); ;) {
    const objects = await client.list(SEGMENTS, last, PAGE)
    const end = objects.at(-1)
    if (end === undefined) return newest
    last = end.key
    for (const { key } of objects) newest = parseSegmentKey(key)?.epoch ?? newest
  }
}

/** Removes every object of a database. Its prefix can be used again. @throws as {@link assertBucket} */
export async function emptyBucket(client: S3Client, databaseId: string): Promise<void> {
  await assertBucket(client, databaseId)
  for (;;) {
    const objects = await client.list(SEGMENTS, '', PAGE)
    if (objects.length === 0) break
    await Promise.all(objects.map(({ key }) => client.delete(key)))
  }
  await client.delete(MARK)
}
