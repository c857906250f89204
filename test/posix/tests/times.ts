import assert from 'node:assert/strict'
import {
  chmodSync,
  chownSync,
  constants,
  linkSync,
  readFileSync,
  readSync,
  writeFileSync,
  writeSync,
} from 'node:fs'
import { stat, tick, withFd, type Tests } from '../directory.ts'
import { birthTime, utimensat } from '../syscalls.ts'

const nowNs = (): bigint => BigInt(Date.now()) * 1_000_000n
const SECOND = 1_000_000_000n

/** Asserts that an action changes ctime, and mtime only if `mtime`. */
async function changes(path: string, what: string, mtime: boolean, action: () => void): Promise<void> {
  const before = stat(path)
  await tick()
  action()
  const after = stat(path)
  assert.ok(after.ctimeNs > before.ctimeNs, `${what}: ctime`)
  assert.equal(after.mtimeNs > before.mtimeNs, mtime, `${what}: mtime`)
}

export const times: Tests = {
  'times are kept to the nanosecond, atime and mtime separately': dir => {
    const path = dir.file('file')
    const atime = 1_111_111_111_123_456_789n
    const mtime = 1_234_567_890_987_654_321n
    utimensat(path, atime, mtime)
    assert.deepEqual([stat(path).atimeNs, stat(path).mtimeNs], [atime, mtime])
    utimensat(dir.path, atime, mtime)
    assert.deepEqual([stat(dir.path).atimeNs, stat(dir.path).mtimeNs], [atime, mtime])
  },

  'times before 1970 and after 2038 are kept': dir => {
    const path = dir.file('file')
    for (const time of [-1n, -SECOND, -1_500_000_000n, 2n ** 31n * SECOND + 1n, 2n ** 33n * SECOND + 999n]) {
      utimensat(path, time, time)
      assert.deepEqual([stat(path).atimeNs, stat(path).mtimeNs], [time, time], `${time}`)
    }
  },

  'UTIME_OMIT keeps a time, UTIME_NOW sets the current time': dir => {
    const path = dir.file('file')
    utimensat(path, 111n, 222n)
    utimensat(path, 'omit', 333n)
    assert.deepEqual([stat(path).atimeNs, stat(path).mtimeNs], [111n, 333n])
    utimensat(path, 444n, 'omit')
    assert.deepEqual([stat(path).atimeNs, stat(path).mtimeNs], [444n, 333n])
    const before = nowNs() - SECOND
    utimensat(path, 'now', 'omit')
    assert.ok(stat(path).atimeNs >= before && stat(path).atimeNs <= nowNs() + SECOND)
    assert.equal(stat(path).mtimeNs, 333n)
    utimensat(path, 'omit', 'now')
    assert.ok(stat(path).mtimeNs >= before && stat(path).mtimeNs <= nowNs() + SECOND)
  },

  'a new file has the time of its creation': dir => {
    const before = nowNs() - SECOND
    const made = stat(dir.file('file'))
    for (const time of [made.atimeNs, made.mtimeNs, made.ctimeNs]) {
      assert.ok(time >= before && time <= nowNs() + SECOND, `${time}`)
    }
  },

  'ctime follows every change, mtime changes of the data alone': async dir => {
    const path = dir.file('file', 'x')
    await changes(path, 'chmod', false, () => chmodSync(path, 0o600))
    await changes(path, 'chown', false, () =>
      chownSync(path, process.getuid?.() ?? 0, process.getgid?.() ?? 0),
    )
    await changes(path, 'link', false, () => linkSync(path, dir.at('link')))
    await changes(path, 'utimensat', false, () => utimensat(path, 'now', 'omit'))
    await changes(path, 'write', true, () => withFd(path, 'r+', fd => void writeSync(fd, 'y')))
    await changes(path, 'truncate', true, () => writeFileSync(path, ''))
  },

  'a read changes neither mtime nor ctime': async dir => {
    const path = dir.file('file', 'content')
    const before = stat(path)
    await tick()
    readFileSync(path)
    assert.deepEqual([stat(path).mtimeNs, stat(path).ctimeNs], [before.mtimeNs, before.ctimeNs])
  },

  'an explicit mtime is kept at close': dir => {
    const path = dir.at('file')
    withFd(path, 'w', fd => {
      writeSync(fd, 'content')
      utimensat(path, 5n, 7n)
    })
    assert.equal(stat(path).mtimeNs, 7n)
  },

  'relatime: the first read after a change updates atime': async dir => {
    const path = dir.file('file', 'content')
    const old = nowNs() - 3600n * SECOND
    utimensat(path, old, old + SECOND)
    await tick()
    readFileSync(path)
    assert.ok(stat(path).atimeNs > old, 'atime has moved')
    const first = stat(path).atimeNs
    await tick()
    readFileSync(path)
    assert.equal(stat(path).atimeNs, first, 'and moves once')
  },

  'O_NOATIME keeps the access time': async dir => {
    const { O_RDONLY, O_NOATIME } = constants
    const path = dir.file('file', 'content')
    const old = nowNs() - 3600n * SECOND
    utimensat(path, old, old + SECOND)
    await tick()
    withFd(path, O_RDONLY | O_NOATIME, fd => assert.equal(readSync(fd, Buffer.alloc(7)), 7))
    assert.equal(stat(path).atimeNs, old)
  },

  'the time of birth is reported and does not change': async dir => {
    const before = nowNs() - SECOND
    const path = dir.file('file')
    const born = birthTime(path)
    assert.ok(born !== undefined && born >= before && born <= nowNs() + SECOND, `${born}`)
    await tick()
    writeFileSync(path, 'later')
    utimensat(path, 1n, 1n)
    assert.equal(birthTime(path), born)
  },
}
