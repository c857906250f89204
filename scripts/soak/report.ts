/** The report of a soak run, and its failed conditions. */
import { formatBytes } from '../units.ts'
import type { Spread } from './daemon-watch.ts'
import type { SoakResult } from './soak-day.ts'
import { isWithinATenth, type SpaceUse } from './space.ts'

/** Maximum growth of a flat series from its second to its last third: in bytes and as a fraction; in descriptors. */
const RESIDENT_SLACK_BYTES = 16 << 20
const RESIDENT_SLACK_PART = 0.1
const DESCRIPTORS_SLACK = 4

/** A condition at the end of the run, with its figures. */
export interface Verdict {
  readonly holds: boolean
  readonly what: string
}

/** The conditions on growth. Loss or corruption would have ended the run before. */
export function verdictsOf({ resident, descriptors, space, warnings }: SoakResult): readonly Verdict[] {
  const [[, before, most], [, after, mostAfter]] = resident
  const [[, , descriptorsBefore], [, , descriptorsAfter]] = descriptors
  return [
    { holds: true, what: 'the tree is as in the model, before and after a remount, and fsck finds nothing' },
    {
      holds: isWithinATenth(space),
      what:
        `the database is not larger than live data, history and a tenth: ${formatBytes(space.fileBytes)} ` +
        `for ${formatBytes(space.neededBytes)}`,
    },
    {
      holds: after <= before * (1 + RESIDENT_SLACK_PART) + RESIDENT_SLACK_BYTES,
      what:
        `resident memory is flat: ${formatBytes(before)}, then ${formatBytes(after)} ` +
        `(at most ${formatBytes(Math.max(most, mostAfter))})`,
    },
    {
      holds: descriptorsAfter <= descriptorsBefore + DESCRIPTORS_SLACK,
      what: `file descriptors are flat: at most ${descriptorsBefore}, then ${descriptorsAfter}`,
    },
    {
      holds: warnings.length === 0,
      what: `the daemon logged no warning${warnings.map(line => `: ${line}`).join('')}`,
    },
  ]
}

export function describeResult(result: SoakResult): string {
  const { resident, descriptors, space } = result
  return [
    `${result.operations} operations wrote ${formatBytes(result.bytesWritten)}; ${result.looks} looks at a whole directory meanwhile, ${result.momentsRead} at one of the past`,
    `${result.kills} kills, ${result.killsWithLoss} with something not yet stored: ${result.lostOperations} operations, the oldest ${result.oldestLostMs} ms old; ${result.remounts} remounts`,
    `${result.backgroundPacks} packs in the background`,
    `resident: ${bytes(resident[0])}, then ${bytes(resident[1])} (smallest, middle, largest in two thirds of the long life)`,
    `descriptors: ${descriptors[0].join(' ')}, then ${descriptors[1].join(' ')}`,
    `database and its log, at work: ${bytes(result.fileBytes)}`,
    `at the end of work: ${describeSpace(result.spaceAtWork)}`,
    `at rest, after ${(space.waitedMs / 1000).toFixed(0)} s: ${describeSpace(space)}`,
  ].join('\n')
}

const bytes = (spread: Spread): string => spread.map(formatBytes).join(' ')

const describeSpace = ({ fileBytes, neededBytes, liveBytes }: SpaceUse): string =>
  `${formatBytes(fileBytes)} for ${formatBytes(neededBytes)} of live data and history, ${formatBytes(liveBytes)} of it live: ` +
  (fileBytes / neededBytes).toFixed(3)
