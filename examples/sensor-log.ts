/**
 * A log of measurements: each batch is one transaction, and a tag names each hour.
 *
 *     node examples/sensor-log.ts sensors.zblk
 */
import { open } from 'zblkfs'

const [path = 'sensors.zblk'] = process.argv.slice(2)
const HOUR_LENGTH = '2026-01-01T00'.length

const db = await open(path, { create: true })
try {
  for (let batch = 0; batch < 3; batch++) {
    const lines = Array.from({ length: 100 }, () => `${new Date().toISOString()} ${Math.random() * 40}\n`)
    await db.transaction(async tx => await tx.appendFile('/measurements', lines.join('')), {
      message: `batch ${batch}`,
    })
  }
  await db.tag(`hour-${new Date().toISOString().slice(0, HOUR_LENGTH)}`, { force: true })
  const { size } = await db.files.stat('/measurements')
  console.log(`${size} bytes of measurements`)
  for await (const { name, tid } of db.tags()) console.log(`${name} is transaction ${tid}`)
} finally {
  await db.close()
}
