import { fileURLToPath } from 'node:url'
import { run } from './programs.ts'
import type { Result } from './result.ts'

const CORE = fileURLToPath(new URL('core.ts', import.meta.url))
const TARGET_MB_PER_SECOND = 1500

interface Row {
  readonly name: string
  readonly core: number
}

/** Results of bench:core for loading ZBlk1 data without FUSE, with a warm store. */
export async function coreResults(isQuick: boolean): Promise<readonly Result[]> {
  const rows = JSON.parse(
    await run(process.execPath, CORE, '--json', '--mib', isQuick ? '32' : '256'),
  ) as Row[]
  return ['ZBlk1', 'ZBlk1, 4 KiB'].flatMap(format => {
    const rate = rows.find(({ name }) => name.startsWith(`${format} load by 1 MiB`))?.core
    if (rate === undefined) throw new Error(`bench:core has no result for ${format}`)
    return [
      {
        name: `core: ${format === 'ZBlk1' ? 'ZBlk1' : 'ZBlk1 in 4 KiB chunks'} load, warm`,
        unit: 'MB/s' as const,
        targets: [{ places: ['zblk1'] as const, atLeast: TARGET_MB_PER_SECOND }],
        figures: { zblk1: { median: rate, least: rate, most: rate } },
        memory: {},
      },
    ]
  })
}
