import { describe, expect, test } from 'vitest'
import { UsageError } from '../../scripts/failure.ts'
import { describeMountOptions, MOUNT_OPTIONS, parseMountOptions } from '../../scripts/mount-options.ts'

test('without options a mount is writable, private, nosuid and nodev', () => {
  expect(parseMountOptions([])).toEqual({
    driver: 'auto',
    readOnly: false,
    zblkFormat: 'auto',
    allowOther: false,
    suid: false,
    dev: false,
    noExec: false,
    nonEmpty: false,
    shown: {},
  })
})

test('lists may be repeated, later options win, and - stands for _', () => {
  const settings = parseMountOptions([
    'ro,allow_other,cache_size=64M',
    'rw,dirty-size=1G,commit_interval=500ms,driver=fuse-native,zblk-format=zblk1,uid=5,umask=027,fsname=x=y',
  ])
  expect(settings).toMatchObject({
    readOnly: false,
    allowOther: true,
    cacheSizeBytes: 64 << 20,
    dirtySizeBytes: 2 ** 30,
    commitIntervalMs: 500,
    driver: 'fuse-native',
    zblkFormat: 'zblk1',
    shown: { uid: 5, umask: 0o27 },
    fsname: 'x=y',
  })
})

test('options that mount(8), fstab(5) and systemd add for themselves are ignored', () => {
  const list = 'defaults,nofail,user,_netdev,relatime,x-systemd.automount,x-gvfs-show,comment=x,noauto'
  expect(parseMountOptions([list])).toEqual(parseMountOptions([]))
  expect(parseMountOptions(['defaults,noexec'])).toMatchObject({ noExec: true })
  expect(parseMountOptions(['noexec,exec'])).toMatchObject({ noExec: false })
  expect(parseMountOptions(['noatime'])).toMatchObject({ ignoresAccess: true })
})

test('a mount of the past is read-only', () => {
  expect(parseMountOptions(['at=2026-11-22T10:00'])).toMatchObject({ at: '2026-11-22T10:00', readOnly: true })
})

describe('is a usage error that lists valid values', () => {
  test.each([
    ['colour=red', /no mount option 'colour': the options are ro, rw, at/],
    ['constructor', /no mount option/],
    ['layout=wcfs,driver=fuse-native', /layout=wcfs needs the kernel driver/],
    ['driver=nfs', /driver=nfs is unknown: it is auto, kernel, fuse-native/],
    ['cache_size=lots', /64M/],
    ['cache_size=0', /64M/],
    ['cache_size', /needs a value: cache_size=SIZE/],
    ['at=', /needs a value/],
    ['commit_interval=soon', /500ms/],
    ['history=30', /history=30 is not a duration: .*7d/],
    ['commit_interval=5', /5m/],
    ['commit_interval=30d', /at most 24d/],
    ['ro=yes', /takes no value/],
    ['umask=888', /octal/],
    ['uid=root', /id -u/],
  ])('%s', (list, message) => {
    expect(() => parseMountOptions([list])).toThrow(UsageError)
    expect(() => parseMountOptions([list])).toThrow(message)
  })
})

test('the help names every option', () => {
  for (const name of Object.keys(MOUNT_OPTIONS)) expect(describeMountOptions()).toContain(`  ${name}`)
})
