/** Other programs that mount a bucket: rclone, and s3backer, which shows one file of blocks. Those that are installed are measured beside zblkfs. */
import { spawn, type ChildProcess } from 'node:child_process'
import { once } from 'node:events'
import { existsSync } from 'node:fs'
import { mkdir, stat, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { setTimeout as sleep } from 'node:timers/promises'
import { KEYS, type TestBucket } from '../../test/tools/swift-server.ts'
import { run } from './programs.ts'

const START_MS = 20_000

export interface S3Peer {
  readonly name: string
  /** Mounts with empty caches. */
  readonly mount: () => Promise<void>
  /** The file that is written and read. */
  readonly file: string
  /** Unmounts; everything is in the bucket then. */
  readonly unmount: () => Promise<void>
}

/** @param bytes the length of the file. */
export async function installedPeers(
  bucket: TestBucket,
  scratch: string,
  bytes: number,
): Promise<readonly S3Peer[]> {
  const peers: S3Peer[] = []
  if (existsSync('/usr/bin/rclone')) peers.push(await rclone(bucket, join(scratch, 'rclone')))
  if (existsSync('/usr/bin/s3backer')) peers.push(await s3backer(bucket, join(scratch, 's3backer'), bytes))
  return peers
}

async function rclone({ endpoint, bucket }: TestBucket, scratch: string): Promise<S3Peer> {
  const dir = join(scratch, 'mnt')
  await mkdir(dir, { recursive: true })
  const config = join(scratch, 'rclone.conf')
  await writeFile(
    config,
    `[peer]\ntype = s3\nprovider = Other\nendpoint = ${endpoint}\nregion = us-east-1\naccess_key_id = ${KEYS.AWS_ACCESS_KEY_ID}\nsecret_access_key = ${KEYS.AWS_SECRET_ACCESS_KEY}\nforce_path_style = true\n`,
  )
  const options = [
    '--config',
    config,
    '--s3-chunk-size',
    '8M',
    '--s3-upload-concurrency',
    '4',
    '--dir-cache-time',
    '0',
  ]
  return peer('rclone', dir, join(dir, 'file'), () =>
    spawn('rclone', ['mount', `peer:${bucket}/rclone`, dir, ...options], {
      stdio: ['ignore', 'ignore', 'pipe'],
      // rclone fails with the certificates that this variable names, and needs none.
      env: { ...process.env, AWS_CA_BUNDLE: undefined },
    }),
  )
}

async function s3backer({ endpoint, bucket }: TestBucket, scratch: string, bytes: number): Promise<S3Peer> {
  const dir = join(scratch, 'mnt')
  await mkdir(dir, { recursive: true })
  // These are the keys of a server on this machine, for the time of the benchmark.
  const access = [`--accessId=${KEYS.AWS_ACCESS_KEY_ID}`, `--accessKey=${KEYS.AWS_SECRET_ACCESS_KEY}`]
  const options = [
    ...access,
    `--baseURL=${endpoint}/`,
    // With aws4 it needs a host name for each bucket.
    '--authVersion=aws2',
    '--prefix=s3backer-',
    '--blockSize=1M',
    `--size=${bytes}`,
    '--blockCacheSize=64',
    '--blockCacheThreads=8',
    '--readAhead=16',
    '--quiet',
    '--force',
  ]
  return peer('s3backer', dir, join(dir, 'file'), () =>
    spawn('s3backer', ['-f', ...options, bucket, dir], { stdio: ['ignore', 'ignore', 'pipe'] }),
  )
}

function peer(name: string, dir: string, file: string, start: () => ChildProcess): S3Peer {
  let program: ChildProcess | undefined
  const isMounted = async (): Promise<boolean> => (await stat(dir)).dev !== (await stat(join(dir, '..'))).dev
  return {
    name,
    file,
    mount: async () => {
      program = start()
      let output = ''
      program.stderr?.on('data', (data: Buffer) => (output += data.toString()))
      for (const began = performance.now(); !(await isMounted());) {
        if (program.exitCode !== null || performance.now() - began > START_MS)
          throw new Error(`${name} did not mount the bucket: ${output}`)
        await sleep(50)
      }
    },
    unmount: async () => {
      if (program?.exitCode !== null) return
      const ended = once(program, 'exit')
      if (await isMounted()) await run('umount', dir)
      else program.kill()
      await ended
      program = undefined
    },
  }
}
