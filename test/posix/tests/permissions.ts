import assert from 'node:assert/strict'
import { spawnSync } from 'node:child_process'
import {
  chmodSync,
  chownSync,
  constants,
  copyFileSync,
  linkSync,
  mkdirSync,
  openSync,
  readdirSync,
} from 'node:fs'
import { renameSync, rmdirSync, statSync, symlinkSync, unlinkSync, utimesSync, writeFileSync } from 'node:fs'
import { asUser, exists, fails, needsRoot, permissions, stat, withFd, type Tests } from '../directory.ts'
import { copyFileRange, fallocate, ftruncate, truncate, utimensat } from '../syscalls.ts'

const OWNER = 1001
const OTHER = 1002
const GROUP = 2001

/** What each of owner, group and others may do with a mode's three digits. */
const READ = 4
const WRITE = 2
const SEARCH = 1

const errorCode = (error: NodeJS.ErrnoException | undefined): string | undefined => error?.code

export const permissionChecks: Tests = {
  'the mode grants access to owner, group and others separately': dir => {
    needsRoot()
    const path = dir.file('file', 'x')
    chownSync(path, OWNER, GROUP)
    const people = [
      { shift: 6, uid: OWNER, groups: [GROUP] },
      { shift: 3, uid: OTHER, groups: [GROUP] },
      { shift: 0, uid: OTHER, groups: [] },
    ]
    for (const { shift, uid, groups } of people) {
      for (let digit = 0; digit < 8; digit++) {
        chmodSync(path, (0o777 & ~(7 << shift)) | (digit << shift))
        asUser(
          uid,
          9,
          () => {
            for (const [flag, bit] of [
              ['r', READ],
              ['r+', READ | WRITE],
            ] as const) {
              if ((digit & bit) === bit) withFd(path, flag, () => undefined)
              else fails('EACCES', () => openSync(path, flag))
            }
          },
          groups,
        )
      }
    }
  },

  'a new entry belongs to its creator': dir => {
    needsRoot()
    const path = dir.directory('shared')
    chmodSync(path, 0o777)
    asUser(OWNER, GROUP, () => {
      writeFileSync(`${path}/file`, '')
      mkdirSync(`${path}/below`)
      symlinkSync('x', `${path}/link`)
    })
    for (const name of ['file', 'below', 'link']) {
      const { uid, gid } = stat(`${path}/${name}`)
      assert.deepEqual([uid, gid], [BigInt(OWNER), BigInt(GROUP)], name)
    }
  },

  'listing a directory needs r, search x, and change w and x': dir => {
    needsRoot()
    const path = dir.directory('directory')
    dir.file('directory/file', 'x')
    for (let digit = 0; digit < 8; digit++) {
      chmodSync(path, 0o770 | digit)
      asUser(OTHER, OTHER, () => {
        if (digit & READ) assert.deepEqual(readdirSync(path), ['file'])
        else fails('EACCES', () => void readdirSync(path))
        if (digit & SEARCH) statSync(`${path}/file`)
        else fails('EACCES', () => void statSync(`${path}/file`))
        if ((digit & (WRITE | SEARCH)) === (WRITE | SEARCH)) {
          writeFileSync(`${path}/new`, '')
          renameSync(`${path}/new`, `${path}/newer`)
          unlinkSync(`${path}/newer`)
          mkdirSync(`${path}/made`)
          rmdirSync(`${path}/made`)
        } else {
          fails('EACCES', () => openSync(`${path}/new`, 'w'))
          fails('EACCES', () => mkdirSync(`${path}/made`))
          fails('EACCES', () => symlinkSync('x', `${path}/link`))
          fails('EACCES', () => unlinkSync(`${path}/file`))
        }
      })
    }
    assert.ok(exists(`${path}/file`))
  },

  'rename and link need write permission for both directories': dir => {
    needsRoot()
    const mine = dir.directory('mine')
    const theirs = dir.directory('theirs')
    chownSync(mine, OWNER, OWNER)
    writeFileSync(`${mine}/file`, '')
    writeFileSync(`${theirs}/file`, '')
    chownSync(`${mine}/file`, OWNER, OWNER)
    asUser(OWNER, OWNER, () => {
      fails('EACCES', () => renameSync(`${mine}/file`, `${theirs}/new`))
      fails('EACCES', () => renameSync(`${theirs}/file`, `${mine}/new`))
      fails('EACCES', () => linkSync(`${mine}/file`, `${theirs}/new`))
      renameSync(`${mine}/file`, `${mine}/renamed`)
    })
  },

  'only the owner may change the mode, and only root the owner': dir => {
    needsRoot()
    const path = dir.file('file')
    chownSync(path, OWNER, OWNER)
    asUser(OTHER, OTHER, () => {
      fails('EPERM', () => chmodSync(path, 0o777))
      fails('EPERM', () => chownSync(path, OTHER, OTHER))
    })
    asUser(OWNER, OWNER, () => {
      chmodSync(path, 0o600)
      fails('EPERM', () => chownSync(path, OTHER, OWNER))
      fails('EPERM', () => chownSync(path, OWNER, GROUP))
    })
    asUser(OWNER, OWNER, () => chownSync(path, OWNER, GROUP), [GROUP])
    assert.equal(stat(path).gid, BigInt(GROUP))
    assert.equal(permissions(path), 0o600)
  },

  'only the owner may set times, but users with write permission may set them to now': dir => {
    needsRoot()
    const path = dir.file('file', '', 0o666)
    chmodSync(path, 0o666)
    chownSync(path, OWNER, OWNER)
    asUser(OTHER, OTHER, () => {
      fails('EPERM', () => utimesSync(path, 1, 1))
      utimensat(path, 'now', 'now')
    })
    chmodSync(path, 0o644)
    asUser(OTHER, OTHER, () => fails('EACCES', () => utimensat(path, 'now', 'now')))
    asUser(OWNER, OWNER, () => utimesSync(path, 1, 1))
  },

  'truncate by name needs write permission': dir => {
    needsRoot()
    const path = dir.file('file', 'content')
    chownSync(path, OWNER, OWNER)
    asUser(OTHER, OTHER, () => fails('EACCES', () => truncate(path, 0)))
    asUser(OWNER, OWNER, () => truncate(path, 3))
    assert.equal(stat(path).size, 3n)
  },

  'root bypasses the mode, except to execute a file without an execute bit': dir => {
    needsRoot()
    const path = dir.at('program')
    copyFileSync('/bin/true', path)
    chmodSync(path, 0)
    withFd(path, 'r+', () => undefined)
    assert.equal(spawnSync(path).error === undefined, false)
    chmodSync(path, 0o100)
    assert.equal(spawnSync(path).status, 0)
  },

  'a program is executable, but not while it is open for writing': dir => {
    const path = dir.at('program')
    copyFileSync('/bin/true', path)
    chmodSync(path, 0o755)
    assert.equal(spawnSync(path).status, 0)
    withFd(path, 'r+', () => {
      assert.equal(errorCode(spawnSync(path).error), 'ETXTBSY')
    })
  },

  'the mode of a file is checked when it is opened, not later': dir => {
    needsRoot()
    const path = dir.file('file', 'x')
    chownSync(path, OWNER, OWNER)
    asUser(OWNER, OWNER, () =>
      withFd(path, 'r+', fd => {
        chmodSync(path, 0)
        assert.equal(stat(fd).size, 1n)
        fails('EACCES', () => openSync(path, 'r'))
      }),
    )
  },
}

export const setIdAndSticky: Tests = {
  'entries of a setgid directory inherit its group, and directories its bit': dir => {
    needsRoot()
    const path = dir.directory('shared')
    chownSync(path, 0, GROUP)
    chmodSync(path, 0o2777)
    asUser(OWNER, OWNER, () => {
      writeFileSync(`${path}/file`, '')
      mkdirSync(`${path}/below`, 0o755)
      symlinkSync('x', `${path}/link`)
    })
    for (const name of ['file', 'below', 'link'])
      assert.equal(stat(`${path}/${name}`).gid, BigInt(GROUP), name)
    assert.equal(permissions(`${path}/below`) & 0o2000, 0o2000)
    assert.equal(permissions(`${path}/file`) & 0o2000, 0)
  },

  'only owners may remove and rename in a sticky directory': dir => {
    needsRoot()
    const path = dir.directory('sticky')
    chmodSync(path, 0o1777)
    for (const [name, uid] of [
      ['mine', OWNER],
      ['theirs', OTHER],
    ] as const) {
      writeFileSync(`${path}/${name}`, '')
      chownSync(`${path}/${name}`, uid, uid)
    }
    asUser(OWNER, OWNER, () => {
      fails('EPERM', () => unlinkSync(`${path}/theirs`))
      fails('EPERM', () => renameSync(`${path}/theirs`, `${path}/x`))
      fails('EPERM', () => renameSync(`${path}/mine`, `${path}/theirs`))
      unlinkSync(`${path}/mine`)
    })
    assert.equal(permissions(path), 0o1777)
  },

  'a change of owner drops setuid and setgid': dir => {
    needsRoot()
    const path = dir.file('file')
    for (const mode of [0o4755, 0o2755, 0o6755]) {
      chownSync(path, OWNER, OWNER)
      chmodSync(path, mode)
      assert.equal(permissions(path), mode)
      chownSync(path, OTHER, OTHER)
      assert.equal(permissions(path), 0o755, mode.toString(8))
    }
    chmodSync(path, 0o6644)
    chownSync(path, OWNER, OWNER)
    assert.equal(permissions(path), 0o2644, 'setgid without group execute is no privilege')
    chownSync(path, OWNER, OWNER)
    chmodSync(path, 0o6755)
    asUser(OWNER, OWNER, () => chownSync(path, OWNER, GROUP), [GROUP])
    assert.equal(permissions(path), 0o755)
  },

  'chown of neither owner nor group drops setuid and setgid': dir => {
    needsRoot()
    const path = dir.file('file')
    chownSync(path, OWNER, OWNER)
    chmodSync(path, 0o6755)
    chownSync(path, -1, -1)
    assert.equal(permissions(path), 0o755)
    chmodSync(path, 0o4711)
    asUser(OWNER, OWNER, () => chownSync(path, -1, -1))
    assert.equal(permissions(path), 0o711)
    chmodSync(path, 0o4755)
    try {
      asUser(OTHER, OTHER, () => chownSync(path, -1, -1))
    } catch (error) {
      assert.equal(errorCode(error as NodeJS.ErrnoException), 'EPERM')
    }
    assert.equal(permissions(path), 0o4755)
    mkdirSync(dir.at('directory'))
    chmodSync(dir.at('directory'), 0o6755)
    chownSync(dir.at('directory'), -1, -1)
    assert.equal(permissions(dir.at('directory')), 0o6755)
  },

  'fallocate, copy_file_range and truncate by a member of the group drop setuid and setgid, by root keep them':
    dir => {
      needsRoot()
      const [path, source] = [dir.file('file', 'content'), dir.file('source', 'content')]
      chmodSync(source, 0o644)
      const changes: Readonly<Record<string, () => void>> = {
        fallocate: () => withFd(path, 'r+', fd => fallocate(fd, 0, 0, 100)),
        copy_file_range: () =>
          withFd(source, 'r', from =>
            withFd(path, 'r+', to => void copyFileRange({ fd: from, off: 0 }, { fd: to, off: 0 }, 5)),
          ),
        ftruncate: () => withFd(path, 'r+', fd => ftruncate(fd, 3)),
        O_TRUNC: () => withFd(path, constants.O_WRONLY | constants.O_TRUNC, () => undefined),
      }
      for (const [name, change] of Object.entries(changes)) {
        chownSync(path, OWNER, GROUP)
        chmodSync(path, 0o6775)
        change()
        assert.equal(permissions(path), 0o6775, `${name} by root`)
        asUser(OTHER, OTHER, change, [GROUP])
        assert.equal(permissions(path), 0o775, name)
      }
    },

  'a write by another user than root drops setuid and setgid': dir => {
    needsRoot()
    const path = dir.file('file', 'content')
    chownSync(path, OWNER, OWNER)
    chmodSync(path, 0o6777)
    asUser(OWNER, OWNER, () => withFd(path, 'r+', fd => writeFileSync(fd, 'x')))
    assert.equal(permissions(path), 0o777)
    chmodSync(path, 0o6777)
    asUser(OTHER, OTHER, () => truncate(path, 0))
    assert.equal(permissions(path), 0o777)
  },

  'a write by root keeps setuid and setgid': dir => {
    needsRoot()
    const path = dir.file('file', 'content')
    chmodSync(path, 0o6755)
    withFd(path, 'r+', fd => writeFileSync(fd, 'x'))
    assert.equal(permissions(path), 0o6755)
  },

  'chmod by a user outside the group drops setgid': dir => {
    needsRoot()
    const path = dir.file('file')
    chownSync(path, OWNER, GROUP)
    asUser(OWNER, OWNER, () => chmodSync(path, 0o2755))
    assert.equal(permissions(path), 0o755)
    asUser(OWNER, OWNER, () => chmodSync(path, 0o2755), [GROUP])
    assert.equal(permissions(path), 0o2755)
  },
}
