/** What a pack would do, as lines of text and JSON. */
import { decodedPath } from '../core/printable.ts'
import { droppedFiles, droppedMoments, packFrees } from '../core/pack/preview.ts'
import type { PackPlan } from '../core/pack/plan.ts'
import type { Measuring } from '../store/capabilities.ts'
import { formatTid, TID_NONE, timeFromTid } from '../store/ids.ts'
import { formatTime, timelineOf } from '../store/moments.ts'
import type { Store } from '../store/store.ts'
import { isRegular } from '../core/tree/inode.ts'
import { lineFormat } from './line-format.ts'
import { paged } from './pager.ts'
import { ProgressBar } from './progress-bar.ts'
import { formatBytes } from './units.ts'

/** Prints the moments, the files and the space. With `json` one object per line; the last one has the totals. */
export async function printPreview(
  store: Store,
  measuring: Measuring,
  plan: PackPlan,
  json: boolean,
): Promise<void> {
  const format = lineFormat({})
  const timeline = await timelineOf(store)
  const bar = new ProgressBar()
  const freesBytes = await packFrees(measuring, plan, (done, total) => bar.update('objects', done, total))
  bar.stop()
  let [moments, files] = [0, 0]
  await paged(async line => {
    for await (const { tid, description } of droppedMoments(store, plan)) {
      moments++
      const time = timeline.timeOf(tid)
      const text = json
        ? JSON.stringify({ tid: formatTid(tid), time: new Date(time).toISOString(), message: description })
        : `${formatTid(tid)}  ${formatTime(time)}  ${format.text(description)}`.trimEnd()
      if (!(await line(text))) return
    }
    for await (const { path, mode, sizeBytes } of droppedFiles(store, plan)) {
      files++
      const size = isRegular({ mode }) ? `  (${formatBytes(Number(sizeBytes))})` : ''
      const text = json
        ? JSON.stringify({ path: decodedPath(path), mode: mode.toString(8), size: String(sizeBytes) })
        : `  D  ${format.name(path)}${size}`
      if (!(await line(text))) return
    }
    const { from } = plan.after
    const historyFrom = formatTid(from)
    // All history may be kept.
    const begin =
      from === TID_NONE
        ? ''
        : `; the history would begin at ${formatTime(timeFromTid(from))} (transaction ${historyFrom})`
    await line(
      json
        ? JSON.stringify({ moments, files, historyFrom, packFreesBytes: freesBytes })
        : `${store.name}: a pack would drop ${counted(moments, 'moment')} and ${counted(files, 'file')} that no other moment has, and free ` +
            `about ${formatBytes(freesBytes)}${begin}`,
    )
  }, format)
}

const counted = (count: number, what: string): string => `${count} ${what}${count === 1 ? '' : 's'}`
