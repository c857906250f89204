/**
 * One process of the Node stress: random work with files of its own and its neighbours' directory, checked against
 * what it knows. `node node-worker.ts DIR INDEX OPERATIONS SEED`; prints the expected files as JSON at its end.
 */
import assert from 'node:assert/strict'
import { createHash } from 'node:crypto'
import { createReadStream, createWriteStream, promises as fs } from 'node:fs'
import { join } from 'node:path'
import { pipeline } from 'node:stream/promises'
import { Random } from '../stress/random.ts'

const [root = '', index = '', operations = '', seed = ''] = process.argv.slice(2)
const own = join(root, `process-${index}`)
const random = new Random(Number(seed))
const files = new Map<string, Buffer>()

const sum = (data: Uint8Array): string => createHash('sha256').update(data).digest('hex')
const some = (): string | undefined => [...files.keys()][random.below(files.size)]

function content(): Buffer {
  const data = Buffer.alloc(random.below(10) === 0 ? random.below(3_000_000) : random.below(20_000))
  for (let at = 0; at < data.length; at += 97) data[at] = random.below(256)
  return data
}

let next = 0
const fresh = (): string => `dir-${random.below(3)}/file-${next++}`

const WORK: (() => Promise<void>)[] = [
  async function write() {
    const [name, data] = [fresh(), content()]
    await fs.writeFile(join(own, name), data)
    files.set(name, data)
  },
  async function stream() {
    const name = some()
    if (name === undefined) return
    const copy = fresh()
    await pipeline(createReadStream(join(own, name)), createWriteStream(join(own, copy)))
    files.set(copy, files.get(name)!)
  },
  async function append() {
    const name = some()
    if (name === undefined) return
    const data = content().subarray(0, 5000)
    await fs.appendFile(join(own, name), data)
    files.set(name, Buffer.concat([files.get(name)!, data]))
  },
  async function rename() {
    const name = some()
    if (name === undefined) return
    const to = random.below(3) === 0 ? some()! : fresh()
    await fs.rename(join(own, name), join(own, to))
    const data = files.get(name)!
    files.delete(name)
    files.set(to, data)
  },
  async function copy() {
    const name = some()
    if (name === undefined) return
    const to = fresh()
    await fs.copyFile(join(own, name), join(own, to))
    files.set(to, files.get(name)!)
  },
  async function truncate() {
    const name = some()
    if (name === undefined) return
    const size = random.below(30_000)
    await fs.truncate(join(own, name), size)
    const data = Buffer.alloc(size)
    files.get(name)!.copy(data)
    files.set(name, data)
  },
  async function remove() {
    const name = some()
    if (name === undefined || files.size < 10) return
    await fs.rm(join(own, name))
    files.delete(name)
  },
  async function read() {
    const name = some()
    if (name === undefined) return
    assert.equal(sum(await fs.readFile(join(own, name))), sum(files.get(name)!), name)
  },
  async function list() {
    const found = await fs.readdir(own, { recursive: true, withFileTypes: true })
    const names = found
      .filter(entry => entry.isFile())
      .map(entry => join(entry.parentPath, entry.name).slice(own.length + 1))
    assert.deepEqual(names.sort(), [...files.keys()].sort())
  },
  async function neighbours() {
    const path = join(root, 'shared', `${index}-${random.below(20)}`)
    await fs.writeFile(path, path)
    for (const name of await fs.readdir(join(root, 'shared'))) {
      const data = await fs.readFile(join(root, 'shared', name), 'utf8').catch(() => '')
      assert.ok(join(root, 'shared', name).startsWith(data), `${name} holds ${data}`)
    }
    await fs.rm(path)
  },
]

for (let at = 0; at < 3; at++) await fs.mkdir(join(own, `dir-${at}`), { recursive: true })
for (let done = 0; done < Number(operations); done++) await WORK[random.below(WORK.length)]!()
console.log(JSON.stringify(Object.fromEntries([...files].map(([name, data]) => [name, sum(data)]))))
