/** Publishes the metrics of a mount: over HTTP for Prometheus, or in a file for the textfile collector of node_exporter. */
import { rename, rm, writeFile } from '../../../store/os-files-async.ts'
import { createServer, type Server } from 'node:http'
import type { Logger } from 'pino'
import { systemCode } from '../../../store/errors.ts'
import { MountError } from '../../drivers/driver.ts'
import { isLoopback, isOwnHost } from '../own-host.ts'
import type { MetricsPlace } from '../mount-settings.ts'
import type { MountStats } from '../mount-stats.ts'
import { metricsOf, type MetricsText, type MountLabels } from './registry.ts'

const FILE_INTERVAL_MS = 15_000
const REQUEST_TIMEOUT_MS = 10_000
/** Further connections are closed at once. */
const CONNECTIONS_MAX = 32

export interface MetricsPublisher {
  close(): Promise<void>
}

/** Publishes until it is closed. @throws MountError if that is not possible. */
export async function publishMetrics(
  place: MetricsPlace,
  labels: MountLabels,
  take: () => Promise<MountStats>,
  log: Logger,
): Promise<MetricsPublisher> {
  const metrics = metricsOf(labels, take)
  return place.kind === 'file'
    ? await writeRegularly(place.path, metrics, log)
    : await serve(place.host, place.port, metrics, log)
}

async function serve(
  host: string,
  port: number,
  metrics: MetricsText,
  log: Logger,
): Promise<MetricsPublisher> {
  const server = createServer({ requestTimeout: REQUEST_TIMEOUT_MS }, (request, response) => {
    // At another address, Prometheus may name this machine as it likes.
    if (isLoopback(host) && !isOwnHost(request.headers.host, host)) {
      response.writeHead(421, { 'content-type': 'text/plain' }).end('another host name\n')
      return
    }
    if (request.url !== '/metrics' || request.method !== 'GET') {
      response.writeHead(404, { 'content-type': 'text/plain' }).end('the metrics are at /metrics\n')
      return
    }
    metrics.text().then(
      text => response.writeHead(200, { 'content-type': metrics.contentType }).end(text),
      (error: unknown) => {
        log.warn({ err: error }, 'the metrics could not be collected')
        response.writeHead(500, { 'content-type': 'text/plain' }).end('the log of the mount has the reason\n')
      },
    )
  })
  server.maxConnections = CONNECTIONS_MAX
  await new Promise<void>((resolve, reject) => {
    server.once('error', error => reject(cannotListen(error, host, port)))
    server.listen(port, host, resolve)
  })
  server.on('error', error => log.warn({ err: error }, 'the server of the metrics failed'))
  return { close: () => closed(server) }
}

function cannotListen(error: Error, host: string, port: number): MountError {
  const reason = systemCode(error) === 'EADDRINUSE' ? 'another process listens there' : error.message
  return new MountError(`the metrics cannot be served at ${host}:${port}: ${reason}`, {
    code: 'metrics-place',
    cause: error,
  })
}

function closed(server: Server): Promise<void> {
  const end = new Promise<void>(resolve => server.close(() => resolve()))
  server.closeAllConnections()
  return end
}

async function writeRegularly(path: string, metrics: MetricsText, log: Logger): Promise<MetricsPublisher> {
  const temporary = `${path}.${process.pid}.tmp`
  const write = async (): Promise<void> => {
    // Others may write the directory: what stands in the place of the temporary file, such as a link, is removed, not followed.
    await rm(temporary, { force: true })
    await writeFile(temporary, await metrics.text(), { mode: 0o644, flag: 'wx' })
    await rename(temporary, path)
  }
  try {
    await write()
  } catch (error) {
    throw new MountError(`the metrics cannot be written to ${path}: ${String(error)}`, {
      code: 'metrics-place',
      cause: error,
    })
  }
  let writing: Promise<void> = Promise.resolve()
  let hasFailed = false
  const timer = setInterval(() => {
    writing = write().then(
      () => void (hasFailed = false),
      (error: unknown) => {
        if (!hasFailed) log.warn({ err: error }, 'the metrics were not written')
        hasFailed = true
      },
    )
  }, FILE_INTERVAL_MS)
  timer.unref()
  return {
    close: async () => {
      clearInterval(timer)
      await writing
      // Figures of a mount that is gone would be taken for the present ones.
      for (const file of [path, temporary]) await rm(file, { force: true }).catch(() => undefined)
    },
  }
}
