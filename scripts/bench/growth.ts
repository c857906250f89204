/**
 * `npm run bench:growth [-- --quick] [--only PART]... [--to GIB] [--real GIB] [--inodes N] [--transactions N] [--out DIR]`: costs as a function of the size of
 * a file, of the database and of the history.
 *
 * The parts are `size`, `moments`, `inodes` and `transactions`; `--only` measures some of them, and replaces their sections.
 * Writes docs/growth.md and the plots in docs/plots/ (or DIR). Files have up to `--to` GiB (64), up to `--real` GiB of
 * them written (8); histories up to `--transactions` (100,000). `--quick` uses small sizes and histories, for a trial,
 * and writes to a new directory. Needs root, and free space of 1.25 times `--real`.
 */
import { existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs'
import { loadavg, tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { parseArgs } from 'node:util'
import { machine } from './baseline.ts'
import type { Growth } from './growth/curve.ts'
import { historyGrowth } from './growth/history-growth.ts'
import { inodeGrowth, transactionGrowth } from './growth/metadata-growth.ts'
import { growthPage, replacedSections } from './growth/page.ts'
import { sizeGrowth } from './growth/size-growth.ts'
import { endOnSignals } from './programs.ts'
import { plotSvg } from './svg-plot.ts'

const FULL = { fromGib: 1, realGib: 8, toGib: 64, transactions: 100_000, inodes: 1_000_000 }
const QUICK = { fromGib: 1 / 32, realGib: 1 / 8, toGib: 1 / 2, transactions: 1000, inodes: 10_000 }

const { values } = parseArgs({
  options: {
    quick: { type: 'boolean', default: false },
    to: { type: 'string' },
    real: { type: 'string' },
    transactions: { type: 'string' },
    inodes: { type: 'string' },
    only: { type: 'string', multiple: true },
    out: { type: 'string' },
  },
})
const defaults = values.quick ? QUICK : FULL
const sizes = {
  fromGib: defaults.fromGib,
  realGib: Number(values.real ?? defaults.realGib),
  toGib: Number(values.to ?? defaults.toGib),
}
const transactions = Number(values.transactions ?? defaults.transactions)
const inodes = Number(values.inodes ?? defaults.inodes)
const docs = fileURLToPath(new URL('../../docs', import.meta.url))
const out = values.out ?? (values.quick ? mkdtempSync(join(tmpdir(), 'zblkfs-growth-')) : docs)

/** Parameters of the run, the machine, and its load before the run. */
const [load = 0] = loadavg()
const conditions = (): string =>
  `\`npm run bench:growth\` with files of ${sizes.fromGib} to ${sizes.toGib} GiB, ${sizes.realGib} of them written, and ` +
  `up to ${transactions.toLocaleString('en')} transactions and ${inodes.toLocaleString('en')} inodes, on ${machine()}, which had a load of ${load.toFixed(1)} before`

async function main(): Promise<void> {
  if (!(sizes.realGib >= sizes.fromGib && sizes.toGib >= sizes.realGib && transactions >= 10))
    throw new Error(
      `--real takes ${sizes.fromGib} or more, --to no less than --real, --transactions 10 or more`,
    )
  endOnSignals()
  const root = mkdtempSync(join(tmpdir(), 'zblkfs-bench-growth-'))
  try {
    const parts: Record<string, () => Promise<readonly Growth[]>> = {
      size: () => sizeGrowth(root, sizes),
      moments: () => historyGrowth(root, transactions),
      inodes: () => inodeGrowth(root, inodes),
      transactions: () => transactionGrowth(root, transactions),
    }
    const growths: Growth[] = []
    for (const [name, measure] of Object.entries(parts))
      if (values.only?.includes(name) !== false) growths.push(...(await measure()))
    mkdirSync(join(out, 'plots'), { recursive: true })
    for (const { name, plot } of growths) writeFileSync(join(out, 'plots', `${name}.svg`), plotSvg(plot))
    const page = join(out, 'growth.md')
    const text =
      values.only === undefined || !existsSync(page)
        ? growthPage(growths, conditions())
        : replacedSections(readFileSync(page, 'utf8'), growths)
    writeFileSync(page, text)
    console.log(`written: ${join(out, 'growth.md')}`)
  } finally {
    rmSync(root, { recursive: true, force: true })
  }
}

await main().catch((error: unknown) => {
  console.error(error instanceof Error ? error.message : error)
  process.exitCode = 1
})
