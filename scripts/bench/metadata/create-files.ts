/** `node create-files.ts DIR N`: makes N small files below a directory of a mount, a thousand in each directory. */
import { closeSync, mkdirSync, openSync, writeSync } from 'node:fs'
import { join } from 'node:path'

const FILES_PER_DIRECTORY = 1000
const BYTES = Buffer.alloc(200, 'a small file ')

const [root = '', count = ''] = process.argv.slice(2)
let directory = root
for (let i = 0; i < Number(count); i++) {
  if (i % FILES_PER_DIRECTORY === 0) {
    directory = join(root, `d${i / FILES_PER_DIRECTORY}`)
    mkdirSync(directory)
  }
  const fd = openSync(join(directory, `file-${i % FILES_PER_DIRECTORY}`), 'w')
  writeSync(fd, BYTES)
  closeSync(fd)
}
