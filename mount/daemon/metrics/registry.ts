/** The metrics of a mount in Prometheus's text format, by prom-client. Figures are taken when they are collected. */
import { Counter, Gauge, Histogram, type MetricValueWithName, Registry } from 'prom-client'
import packageJson from '../../../package.json' with { type: 'json' }
import { BUCKET_BOUNDS_SECONDS, type RequestFigures } from '../../../core/file-system/request-meter.ts'
import type { MountStats } from '../mount-stats.ts'
import { INFO_METRIC, LATENCY_METRIC, METRICS } from './definitions.ts'

/** What the labels of the metric `zblkfs_mount_info` say of a mount. */
export interface MountLabels {
  readonly database: string
  readonly directory: string
  readonly driver: string
  readonly access: string
}

export interface MetricsText {
  readonly contentType: string
  /** The present figures. */
  text(): Promise<string>
}

/** The metrics of a mount whose figures `take` returns. Every one has the label `directory`. */
export function metricsOf(labels: MountLabels, take: () => Promise<MountStats>): MetricsText {
  const registry = new Registry()
  registry.setDefaultLabels({ directory: labels.directory })
  const registers = [registry]
  const { directory: _, ...others } = labels
  const info = { version: packageJson.version, ...others }
  new Gauge({ ...INFO_METRIC, labelNames: Object.keys(info), registers }).set(info, 1)
  const latencies = new Latencies({ ...LATENCY_METRIC, labelNames: ['operation'], registers })
  const setters = METRICS.map(({ name, help, kind, label, samples }) => {
    const options = { name, help, registers, labelNames: label === undefined ? [] : [label] }
    const metric = kind === 'counter' ? new Counter(options) : new Gauge(options)
    return (stats: MountStats): void => {
      metric.reset()
      const found = samples(stats)
      if (found.length === 0 && label === undefined) metric.remove()
      for (const [value, amount] of found) metric.inc(label === undefined ? {} : { [label]: value }, amount)
    }
  })
  return {
    contentType: registry.contentType,
    text: async () => {
      const stats = await take()
      latencies.requests = stats.requests
      for (const set of setters) set(stats)
      return await registry.metrics()
    },
  }
}

/** A histogram whose buckets a {@link RequestFigures} has. */
class Latencies extends Histogram {
  requests: Readonly<Record<string, RequestFigures>> = {}

  /** What prom-client 15 prints of a histogram. Its types do not declare it; the version is pinned, and a test compares. */
  getForPromString(): Promise<object> {
    const values = Object.entries(this.requests).flatMap(valuesOf)
    return Promise.resolve({ ...LATENCY_METRIC, type: 'histogram', values })
  }
}

function valuesOf([operation, { count, totalMs, buckets }]: [
  string,
  RequestFigures,
]): MetricValueWithName<string>[] {
  let sum = 0
  const { name } = LATENCY_METRIC
  const bounded = BUCKET_BOUNDS_SECONDS.map((le, i) => {
    sum += buckets[i] ?? 0
    return { metricName: `${name}_bucket`, labels: { operation, le }, value: sum }
  })
  return [
    ...bounded,
    { metricName: `${name}_bucket`, labels: { operation, le: '+Inf' }, value: count },
    { metricName: `${name}_sum`, labels: { operation }, value: totalMs / 1000 },
    { metricName: `${name}_count`, labels: { operation }, value: count },
  ]
}
