/**
 * Servers for `scripts/demo.sh --many-machines`: a PostgreSQL server and an S3 server (OpenStack Swift), of this process alone, in
 * a directory. Prints the URL of an empty database and that of a place in a bucket, and ends both servers when its input ends.
 */
import { chmodSync, mkdirSync, readFileSync } from 'node:fs'
import { join } from 'node:path'
import { hasPostgres, PostgresServer } from './postgres-server.ts'
import { hasSwift, startSwift, SHARED_BUCKET } from './swift-server.ts'

const [directory] = process.argv.slice(2)
if (directory === undefined) throw new Error('name a directory')
if (!hasPostgres || !hasSwift) {
  console.error(`demo: ${hasPostgres ? 'OpenStack Swift' : 'PostgreSQL'} is not installed`)
  process.exit(1)
}
for (const name of ['postgres', 'swift']) {
  mkdirSync(join(directory, name))
  chmodSync(join(directory, name), 0o755)
}
const postgres = new PostgresServer(join(directory, 'postgres'))
const [pids] = await Promise.all([
  startSwift(join(directory, 'swift')),
  postgres.initialise().then(() => postgres.start()),
])
const { url } = await postgres.makeDatabase()
const endpoint = readFileSync(join(directory, 'swift', 'endpoint'), 'utf8')
console.log(`${url} s3://${SHARED_BUCKET}/demo?endpoint=${endpoint}`)
process.on('SIGINT', () => undefined)
process.stdin.resume()
process.stdin.on('end', () => {
  for (const pid of pids) process.kill(pid, 'SIGKILL')
  void postgres.stop('immediate').finally(() => process.exit())
})
