/**
 * A real S3 server of the tests' own: OpenStack Swift with its S3 API. Four daemons on the loopback interface, their data in a
 * temporary directory, as a user that is not root. No service of the system is touched. Where Swift is not installed its tests
 * are skipped.
 *
 *     const { url, remove } = await makeBucket()
 *
 * The processes of one test run share a server (shared-server.ts); its keys are in their environment.
 */
import { execFileSync, spawn, type ChildProcess } from 'node:child_process'
import { randomBytes } from 'node:crypto'
import {
  chmodSync,
  chownSync,
  existsSync,
  mkdirSync,
  openSync,
  readdirSync,
  readFileSync,
  writeFileSync,
} from 'node:fs'
import { createServer } from 'node:net'
import { userInfo } from 'node:os'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { AwsClient } from 'aws4fetch'
import { S3Client } from '../../store/s3/client.ts'
import { serverUser, startShared } from './shared-server.ts'

const KINDS = ['account', 'container', 'object'] as const
const START_MS = 90_000

/** The server's only user. */
export const KEYS = { AWS_ACCESS_KEY_ID: 'test:tester', AWS_SECRET_ACCESS_KEY: 'testing' } as const

export const hasSwift = [...KINDS, 'proxy'].every(kind => existsSync(`/usr/bin/swift-${kind}-server`))

export interface TestBucket {
  /** Of a prefix in it. */
  readonly url: string
  readonly endpoint: string
  readonly bucket: string
  /** A client of that prefix. */
  readonly client: S3Client
  /** Ends the client; objects stay until the end of the run. */
  remove(): void
}

/** The bucket that a server has at first. */
export const SHARED_BUCKET = 'tests'

/** A new prefix on the server that the processes of this run share. Their environment gets its keys. */
export async function makeBucket(): Promise<TestBucket> {
  const directory = await startShared('swift', async place => await startSwift(place))
  const endpoint = readFileSync(join(directory, 'endpoint'), 'utf8')
  Object.assign(process.env, KEYS)
  const prefix = `data-${randomBytes(6).toString('hex')}`
  const url = `s3://${SHARED_BUCKET}/${prefix}?endpoint=${endpoint}`
  const client = new S3Client({ bucket: SHARED_BUCKET, prefix, endpoint })
  return { url, endpoint, bucket: SHARED_BUCKET, client, remove: () => client.close() }
}

async function createBucket(endpoint: string, bucket: string): Promise<void> {
  const { AWS_ACCESS_KEY_ID: accessKeyId, AWS_SECRET_ACCESS_KEY: secretAccessKey } = KEYS
  const aws = new AwsClient({ accessKeyId, secretAccessKey, service: 's3', region: 'us-east-1' })
  const { ok, status } = await aws.fetch(`${endpoint}/${bucket}`, { method: 'PUT' })
  if (!ok) throw new Error(`the bucket was not created: status ${status}`)
}

/** Starts a server in an empty directory, which gets a file `endpoint`; resolves to the ids of its processes once it answers. */
export async function startSwift(directory: string): Promise<readonly number[]> {
  const ports = await freePorts(4)
  const user = serverUser()
  mkdirSync(join(directory, 'node', 'd1'), { recursive: true })
  writeFileSync(join(directory, 'swift.conf'), '[swift-hash]\nswift_hash_path_suffix = zblkfs\n')
  for (const [index, kind] of KINDS.entries()) {
    const builder = join(directory, `${kind}.builder`)
    const ring = (...parameters: readonly string[]): void =>
      void execFileSync('swift-ring-builder', [builder, ...parameters])
    ring('create', '4', '1', '0')
    ring('add', `r1z1-127.0.0.1:${ports[index]}/d1`, '1')
    ring('rebalance')
  }
  const name = user?.name ?? userInfo().username
  for (const [index, kind] of KINDS.entries())
    writeFileSync(join(directory, `${kind}.conf`), daemonConf(directory, kind, ports[index] ?? 0, name))
  writeFileSync(join(directory, 'proxy.conf'), proxyConf(directory, ports[3] ?? 0, name))
  if (user !== undefined) own(directory, user)
  chmodSync(directory, 0o755)
  const log = openSync(join(directory, 'log'), 'a')
  const daemons = [...KINDS, 'proxy'].map((kind): ChildProcess =>
    spawn(`swift-${kind}-server`, [join(directory, `${kind}.conf`), 'verbose'], {
      cwd: '/',
      detached: true,
      stdio: ['ignore', log, log],
      env: { ...process.env, PYTHONWARNINGS: 'ignore', HOME: directory },
      ...(user && { uid: user.uid, gid: user.gid }),
    }),
  )
  for (const daemon of daemons) daemon.unref()
  const endpoint = `http://127.0.0.1:${ports[3]}`
  await untilAnswers(endpoint, directory)
  writeFileSync(join(directory, 'endpoint'), endpoint)
  return daemons.map(({ pid }) => pid ?? 0)
}

const daemonConf = (directory: string, kind: string, port: number, user: string): string => `[DEFAULT]
bind_ip = 127.0.0.1
bind_port = ${port}
swift_dir = ${directory}
devices = ${directory}/node
mount_check = false
disable_fallocate = true
workers = 0
user = ${user}
[pipeline:main]
pipeline = ${kind}-server
[app:${kind}-server]
use = egg:swift#${kind}
recon_cache_path = ${directory}/node
`

/** Without memcached, whose absence the proxy tolerates, but not that of the filter. */
const proxyConf = (directory: string, port: number, user: string): string => `[DEFAULT]
bind_ip = 127.0.0.1
bind_port = ${port}
swift_dir = ${directory}
workers = 0
user = ${user}
[pipeline:main]
pipeline = catch_errors gatekeeper cache listing_formats s3api tempauth slo proxy-logging proxy-server
[app:proxy-server]
use = egg:swift#proxy
account_autocreate = true
[filter:catch_errors]
use = egg:swift#catch_errors
[filter:gatekeeper]
use = egg:swift#gatekeeper
[filter:cache]
use = egg:swift#memcache
memcache_servers = 127.0.0.1:9
[filter:listing_formats]
use = egg:swift#listing_formats
[filter:s3api]
use = egg:swift#s3api
location = us-east-1
[filter:tempauth]
use = egg:swift#tempauth
user_test_tester = testing .admin
[filter:slo]
use = egg:swift#slo
[filter:proxy-logging]
use = egg:swift#proxy_logging
`

function own(path: string, user: { readonly uid: number; readonly gid: number }): void {
  chownSync(path, user.uid, user.gid)
  for (const entry of readdirSync(path, { recursive: true, encoding: 'utf8' }))
    chownSync(join(path, entry), user.uid, user.gid)
}

async function freePorts(count: number): Promise<readonly number[]> {
  const servers = await Promise.all(
    Array.from({ length: count }, async () => {
      const server = createServer()
      await new Promise<void>(resolve => server.listen(0, '127.0.0.1', () => resolve()))
      return server
    }),
  )
  return await Promise.all(
    servers.map(async server => {
      const address = server.address()
      await new Promise<void>(resolve => server.close(() => resolve()))
      return typeof address === 'object' ? (address?.port ?? 0) : 0
    }),
  )
}

/** Waits until all daemons answer: the first request creates the account. */
async function untilAnswers(endpoint: string, directory: string): Promise<void> {
  for (const start = performance.now(); ;) {
    try {
      await createBucket(endpoint, SHARED_BUCKET)
      return
    } catch (error) {
      if (performance.now() - start > START_MS)
        throw new Error(
          `Swift does not answer:\n${readFileSync(join(directory, 'log'), 'utf8').slice(-3000)}`,
          {
            cause: error,
          },
        )
    }
    await sleep(200)
  }
}
