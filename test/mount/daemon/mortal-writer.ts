/** Run as a process: serves a mount of a database, and ends its writer's thread on request. */
import { Worker } from 'node:worker_threads'
import { pino } from 'pino'
import { MountServer } from '../../../mount/daemon/mount-server.ts'
import { openFileSystem } from '../../../mount/daemon/open-file-system.ts'

const [database = '', directory = ''] = process.argv.slice(2)
const workers = new Set<Worker>()
const postMessage = Reflect.get(Worker.prototype, 'postMessage') as (...parameters: unknown[]) => void
Worker.prototype.postMessage = function (this: Worker, ...parameters) {
  workers.add(this)
  postMessage.apply(this, parameters)
}

const log = pino({ level: 'fatal' }, pino.destination(2))
const opened = await openFileSystem(
  {
    database,
    directory,
    driver: 'auto',
    readOnly: false,
    zblkFormat: 'auto',
    commitIntervalMs: 100_000,
    allowOther: false,
    suid: false,
    dev: false,
    noExec: false,
    nonEmpty: false,
    shown: {},
  },
  log,
)
const server = await MountServer.start(opened, log)
process.on('message', () => {
  void Promise.all([...workers].map(worker => worker.terminate())).then(() => process.send?.('gone'))
})
process.send?.('mounted')
process.exit(
  await server.ended.then(
    () => 0,
    () => 1,
  ),
)
