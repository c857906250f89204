/** The client before a server that fails in every way: bounded retries, right bytes or a clear error, no hang. */
import { createServer } from 'node:http'
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, onTestFinished, test } from 'vitest'
import { S3Client, type S3ClientOptions } from '../../../store/s3/client.ts'
import { findCredentials } from '../../../store/s3/credentials.ts'
import { ObjectMissingError } from '../../../store/s3/s3-errors.ts'
import { S3Proxy, type S3Fault } from '../../tools/s3-proxy.ts'
import { hasSwift, KEYS, makeBucket, type TestBucket } from '../../tools/swift-server.ts'

const LIMITS = { retryMs: 4000, idleMs: 1500, mibMs: 500 }
const BYTES = Buffer.from(Uint8Array.from({ length: 300_000 }, (_, index) => index * 7 + (index >> 9)))

describe('credentials', () => {
  test('come from the environment, else from a profile of a file', () => {
    const directory = mkdtempSync(join(tmpdir(), 'zblkfs-aws-'))
    onTestFinished(() => rmSync(directory, { recursive: true }))
    const file = join(directory, 'credentials')
    writeFileSync(
      file,
      '# a comment\n[default]\naws_access_key_id = A\naws_secret_access_key=s/+=\n\n[ other ]\nAWS_ACCESS_KEY_ID=B\n' +
        'aws_secret_access_key = t\naws_session_token = u\n[incomplete]\naws_access_key_id = C\n',
    )
    const env = { AWS_SHARED_CREDENTIALS_FILE: file }
    expect(findCredentials(env)).toEqual({ accessKeyId: 'A', secretAccessKey: 's/+=' })
    expect(findCredentials({ ...env, AWS_PROFILE: 'other' })).toEqual({
      accessKeyId: 'B',
      secretAccessKey: 't',
      sessionToken: 'u',
    })
    expect(findCredentials({ ...env, AWS_PROFILE: 'incomplete' })).toBeUndefined()
    expect(findCredentials({ ...env, AWS_PROFILE: 'absent' })).toBeUndefined()
    expect(findCredentials({ HOME: directory })).toBeUndefined()
    expect(findCredentials({ ...env, AWS_ACCESS_KEY_ID: 'E', AWS_SECRET_ACCESS_KEY: 'f' })).toEqual({
      accessKeyId: 'E',
      secretAccessKey: 'f',
    })
  })
})

test('an unreachable server is reported with its cause', async () => {
  const client = new S3Client(
    { bucket: 'none', prefix: '', endpoint: 'http://127.0.0.1:1' },
    { env: KEYS, limits: LIMITS },
  )
  await expect(client.text('a')).rejects.toMatchObject({
    code: 's3-gone',
    message: expect.stringContaining('ECONNREFUSED') as unknown,
  })
  const without = new S3Client({ bucket: 'none', prefix: '' }, { env: { HOME: '/nonexistent' } })
  await expect(without.text('a')).rejects.toMatchObject({ code: 's3-forbids' })
})

test('a response that is not of S3 is an error', async () => {
  const server = createServer((_, answer) => answer.writeHead(200).end('<html>It works!</html>'))
  await new Promise<void>(resolve => server.listen(0, '127.0.0.1', () => resolve()))
  onTestFinished(() => void server.close())
  const address = server.address()
  const port = typeof address === 'object' ? address?.port : 0
  const client = new S3Client(
    { bucket: 'any', prefix: '', endpoint: `http://127.0.0.1:${port}` },
    { env: KEYS, limits: LIMITS },
  )
  await expect(client.get('a', 10, 100)).rejects.toMatchObject({ code: 's3-gone' })
  client.close()
})

describe.skipIf(!hasSwift)('a client of a real server', () => {
  let bucket: TestBucket
  let proxy: S3Proxy
  const reports: string[] = []

  const connect = (options: S3ClientOptions = {}): S3Client => {
    const prefix = bucket.url.split('/')[3]?.split('?')[0] ?? ''
    const client = new S3Client(
      { bucket: bucket.bucket, prefix, endpoint: proxy.endpoint },
      { limits: LIMITS, report: message => reports.push(message), ...options },
    )
    onTestFinished(() => client.close())
    return client
  }

  beforeAll(async () => {
    bucket = await makeBucket()
    proxy = await S3Proxy.start(bucket.endpoint)
  })
  afterAll(async () => {
    bucket.remove()
    await proxy.stop()
  })

  const failing = (fault: S3Fault, times = Number.POSITIVE_INFINITY): void => {
    let left = times
    proxy.fault = () => (left-- > 0 ? fault : undefined)
    onTestFinished(() => void (proxy.fault = () => undefined))
  }

  test('objects are stored, read in parts, listed and deleted', async () => {
    const client = connect()
    await client.put('segments/a b&c', [BYTES.subarray(0, 1000), BYTES.subarray(1000)])
    await client.put('segments/d', [Buffer.from('d')])
    expect(await client.get('segments/a b&c', 999, 5000)).toEqual(BYTES.subarray(999, 5999))
    expect(await client.get('segments/a b&c', 0, BYTES.length)).toEqual(BYTES)
    expect(await client.size('segments/a b&c')).toBe(BYTES.length)
    expect(await client.text('segments/d')).toBe('d')
    const listed = await client.list('segments/', '', 10)
    expect(listed.map(({ key, bytes }) => [key, bytes])).toEqual([
      ['segments/a b&c', BYTES.length],
      ['segments/d', 1],
    ])
    expect(listed[0]?.ageMs).toBeLessThan(60_000)
    expect(await client.list('segments/', 'segments/a b&c', 10)).toHaveLength(1)
    expect(await client.list('segments/', '', 1)).toHaveLength(1)
    for (const key of ['segments/a b&c', 'segments/d', 'segments/absent']) await client.delete(key)
    expect(await client.list('segments/', '', 10)).toEqual([])
    expect(await client.size('segments/d')).toBeUndefined()
    expect(await client.text('segments/d')).toBeUndefined()
    await expect(client.get('segments/d', 0, 1)).rejects.toBeInstanceOf(ObjectMissingError)
  })

  test('an object that is too short is not retried', async () => {
    const client = connect()
    await client.put('short', [Buffer.from('0123456789')])
    const before = proxy.seen.length
    await expect(client.get('short', 5, 10)).rejects.toBeInstanceOf(ObjectMissingError)
    await expect(client.get('short', 50, 10)).rejects.toBeInstanceOf(ObjectMissingError)
    expect(proxy.seen.length - before).toBe(2)
  })

  test.each<S3Fault>(['busy', 'cut', 'lost', 'silent', 'slow', 'reset'])(
    '%s twice, then right: the right bytes',
    async fault => {
      const client = connect()
      await client.put('object', [BYTES])
      reports.length = 0
      failing(fault, 2)
      expect(await client.get('object', 0, BYTES.length)).toEqual(BYTES)
      expect(client.state).toEqual({ state: 'connected' })
      expect(reports).toEqual([
        expect.stringContaining('does not answer') as unknown,
        expect.stringContaining('answers again') as unknown,
      ])
      failing(fault, 2)
      await client.put('object', [BYTES])
    },
  )

  test.each<S3Fault>(['busy', 'cut', 'lost', 'silent', 'slow', 'reset'])(
    'always %s: an error in a bounded time',
    async fault => {
      const client = connect()
      await client.put('object', [BYTES])
      failing(fault)
      const start = performance.now()
      await expect(client.get('object', 0, BYTES.length)).rejects.toMatchObject({ code: 's3-gone' })
      expect(performance.now() - start).toBeLessThan(15_000)
      expect(client.state.state).toBe('reconnecting')
    },
  )

  test('wrong keys and a missing bucket are reported without the secret, and not retried', async () => {
    const env = { AWS_ACCESS_KEY_ID: 'test:tester', AWS_SECRET_ACCESS_KEY: 'the-wrong-secret' }
    const before = proxy.seen.length
    const refusal = await connect({ env })
      .text('a')
      .catch((error: unknown) => error)
    expect(refusal).toMatchObject({ code: 's3-forbids' })
    expect(String(refusal)).toContain('~/.aws/credentials')
    expect(String(refusal)).not.toContain('wrong-secret')
    expect(proxy.seen.length - before).toBeLessThanOrEqual(2)
    const missing = new S3Client({ bucket: 'no-such-bucket', prefix: 'x', endpoint: bucket.endpoint })
    await expect(missing.text('a')).rejects.toMatchObject({ code: 's3-lacks-bucket' })
    missing.close()
  })

  test('a client that is closed ends its requests', async () => {
    const client = connect({ limits: { retryMs: 60_000, idleMs: 60_000 } })
    failing('silent')
    const reading = client.text('a').catch((error: unknown) => error)
    setTimeout(() => client.close(), 100)
    expect(await reading).toMatchObject({ code: 's3-gone' })
  })
})
