import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { release } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, test, vi } from 'vitest'
import { ServedMount } from './served-mount.ts'

const DIRECT_ROUNDS = process.env['ZBLKFS_DIRECT_ROUNDS'] ?? '200'

let mount: ServedMount
beforeAll(async () => {
  mount = await ServedMount.start({ allowOther: true })
})
afterAll(async () => {
  await mount?.stop()
})

describe('files', () => {
  test('a file written by dd is read back by cat', () => {
    const sum = (command: string) => mount.run(command).split(' ')[0]
    mount.run('head -c 20000000 /dev/urandom > /tmp/zblkfs-kernel-random; cp /tmp/zblkfs-kernel-random a')
    const source = sum('sha256sum < /tmp/zblkfs-kernel-random; rm /tmp/zblkfs-kernel-random')
    expect(sum('sha256sum < a')).toBe(source)
    mount.run('dd if=a of=b bs=1M status=none; sync b; dd if=b iflag=nocache count=0 status=none')
    expect(sum('cat b | sha256sum')).toBe(source)
    expect(mount.run('stat -c %s b')).toBe('20000000\n')
  })

  test('a missing file is ENOENT and a name of 256 bytes ENAMETOOLONG', () => {
    expect(() => mount.run('cat missing')).toThrow(/No such file/)
    expect(() => mount.run(`touch ${'x'.repeat(256)}`)).toThrow(/File name too long/)
    mount.run(`touch ${'x'.repeat(255)}; rm ${'x'.repeat(255)}`)
  })

  test('asynchronous direct writes leave no old pages in the cache', () => {
    const program = join(import.meta.dirname, 'asynchronous-writes.py')
    expect(mount.run(`/usr/bin/env python3 ${program} direct ${DIRECT_ROUNDS}; rm direct`)).toBe('0\n')
  })

  test('O_TRUNC empties, O_APPEND appends, O_EXCL refuses', () => {
    expect(mount.run('echo one > t; echo two > t; echo three >> t; cat t')).toBe('two\nthree\n')
    expect(() => mount.run('set -C; echo four > t')).toThrow(/cannot overwrite/)
  })

  test('O_DIRECT reads and writes', () => {
    mount.run('dd if=/dev/urandom of=direct bs=1M count=4 oflag=direct status=none')
    expect(mount.run('cmp <(dd if=direct bs=1M iflag=direct status=none) direct; stat -c %s direct')).toBe(
      '4194304\n',
    )
  })

  test('a shared writable map reaches the file by msync', () => {
    const output = mount.python(`
import mmap, os
with open('mapped', 'wb') as f: f.truncate(1 << 20)
fd = os.open('mapped', os.O_RDWR)
m = mmap.mmap(fd, 1 << 20)
m[70000:70005] = b'hello'
m.flush(); m.close(); os.close(fd)
fd = os.open('mapped', os.O_RDONLY | os.O_DIRECT)
b = mmap.mmap(-1, 1 << 20)
os.readv(fd, [b])
print(b[70000:70005], b[69999], len(b))`)
    expect(output).toBe("b'hello' 0 1048576\n")
  })

  test('offsets near 2^63 arrive whole', () => {
    expect(
      mount.python(`
import os
fd = os.open('far', os.O_RDWR | os.O_CREAT)
os.pwrite(fd, b'end', 2**62)
print(os.pread(fd, 10, 2**62), os.fstat(fd).st_size == 2**62 + 3)`),
    ).toBe("b'end' True\n")
  })

  test('seek finds data and holes, fallocate and copy_file_range work', () => {
    expect(
      mount.python(`
import os, ctypes
libc = ctypes.CDLL(None, use_errno=True)
fd = os.open('sparse', os.O_RDWR | os.O_CREAT)
os.pwrite(fd, b'x' * 65536, 655360)
print(os.lseek(fd, 0, os.SEEK_DATA), os.lseek(fd, 655360, os.SEEK_HOLE))
try: os.lseek(fd, 10**9, os.SEEK_DATA)
except OSError as e: print(e.errno)
os.posix_fallocate(fd, 0, 2000000)
print(os.fstat(fd).st_size)
r = libc.fallocate(fd, 3, ctypes.c_long(655360), ctypes.c_long(100))
print(r, os.pread(fd, 1, 655360), os.pread(fd, 1, 655460))
r = libc.fallocate(fd, 8, ctypes.c_long(0), ctypes.c_long(4096))
print(r, ctypes.get_errno())
to = os.open('copy', os.O_RDWR | os.O_CREAT)
print(os.copy_file_range(fd, to, 1000, 655460, 5), os.pread(to, 10, 5))`),
    ).toBe("655360 720896\n6\n2000000\n0 b'\\x00' b'x'\n-1 95\n1000 b'xxxxxxxxxx'\n")
  })

  test('an unlinked file stays usable while it is open', () => {
    expect(mount.run('echo kept > gone; exec 3< gone; rm gone; cat <&3; stat -L -c %h /dev/fd/3')).toBe(
      'kept\n0\n',
    )
  })
})

describe('names', () => {
  test('links, symbolic links, FIFOs and devices keep their kinds', () => {
    expect(
      mount.run(
        'echo x > l1; ln l1 l2; stat -c %h l1; ln -s l1 s; readlink s; cat s; mkfifo f; mknod d b 259 70000; ' +
          'stat -c "%F %t %T" f d',
      ),
    ).toBe('2\nl1\nx\nfifo 0 0\nblock special file 103 11170\n')
  })

  test('names are bytes', () => {
    mount.run(String.raw`touch $'\xff\xfe name \n' 'ünïcode'`)
    expect(mount.run('ls -b')).toContain(String.raw`\377\376\ name\ \n`)
    expect(mount.run('ls')).toContain('ünïcode')
  })

  test('mv replaces, renameat2 refuses and exchanges', () => {
    expect(mount.run('echo 1 > m1; echo 2 > m2; mv m1 m2; cat m2; ls m1 2>&1 || true')).toMatch(
      /^1\n.*No such/,
    )
    expect(
      mount.python(`
import ctypes, os
libc = ctypes.CDLL(None, use_errno=True)
for n in 'ab': open('r' + n, 'w').write(n)
def rename(flags, a=b'ra', b=b'rb'):
    r = libc.renameat2(-100, a, -100, b, flags)
    return r if r == 0 else ctypes.get_errno()
print(rename(1), rename(2), open('ra').read(), open('rb').read(), rename(1, b'ra', b'rc'), rename(8, b'rc', b'ra'))`),
    ).toBe('17 0 b a 0 22\n')
  })

  test('10,000 entries are listed once each, with and without their attributes', () => {
    mount.python(`
import os
os.mkdir('many')
for i in range(10000): os.close(os.open('many/entry-%05d' % i, os.O_CREAT))`)
    expect(mount.run('ls -f many | sort -u | wc -l; ls -f many | wc -l')).toBe('10002\n10002\n')
    expect(mount.run('echo 2 > /proc/sys/vm/drop_caches; ls -l many | wc -l')).toBe('10001\n')
    expect(mount.run('rm -r many; ls -d many 2>&1 || true')).toMatch(/No such/)
  })

  test('inodes are released on FORGET', async () => {
    mount.run('mkdir brief; cd brief; for i in $(seq 500); do echo > $i; done; cd ..; rm -r brief')
    mount.run('echo 2 > /proc/sys/vm/drop_caches; sleep 0.2')
    const names = Number(mount.run('ls -A | wc -l'))
    expect(await mount.order({ do: 'inodes' })).toBeLessThanOrEqual(names + 1)
  })
})

describe('attributes', () => {
  test('times are kept to the nanosecond, and the time of birth is reported', () => {
    mount.run(
      "touch t1; touch -d '2001-02-03 04:05:06.123456789 UTC' t1; touch -a -d '1969-12-31 23:59:59.5 UTC' t1",
    )
    expect(mount.run("TZ=UTC stat -c '%y %x' t1")).toBe(
      '2001-02-03 04:05:06.123456789 +0000 1969-12-31 23:59:59.500000000 +0000\n',
    )
    const birth = Number(mount.run('stat -c %W t1'))
    expect(Math.abs(birth - Date.now() / 1000)).toBeLessThan(60)
  })

  test('extended attributes are set, listed, read and removed', () => {
    expect(
      mount.python(`
import os
open('x', 'w')
os.setxattr('x', 'user.a', b'1')
os.setxattr('x', 'user.b', b'v' * 60000)
print(os.listxattr('x'), os.getxattr('x', 'user.a'), len(os.getxattr('x', 'user.b')))
os.removexattr('x', 'user.a')
print(os.listxattr('x'))
try: os.getxattr('x', 'user.a')
except OSError as e: print(e.errno)`),
    ).toBe("['user.a', 'user.b'] b'1' 60000\n['user.b']\n61\n")
  })

  test('the figures of statfs arrive', () => {
    expect(mount.run("stat -f -c '%S %b %f %a %d %l' .")).toBe('4096 1000 600 500 1000000 255\n')
  })

  test('the umask, the caller and the permissions are respected', () => {
    expect(
      mount.run("mkdir -m 777 open; cd open; umask 027; mkdir d; echo x > f; stat -c '%a %u %g' d f", {
        uid: 0,
      }),
    ).toBe('750 0 0\n640 0 0\n')
    expect(mount.run("cd open; echo x > mine; stat -c '%a %u %g' mine", { uid: 65534 })).toBe(
      '644 65534 65534\n',
    )
    expect(() => mount.run('cat open/f', { uid: 65534 })).toThrow(/Permission denied/)
  })

  test('a write by another user than root clears setuid', () => {
    expect(
      mount.run('echo > open/suid; chown 65534 open/suid; chmod 6777 open/suid; stat -c %a open/suid'),
    ).toBe('6777\n')
    expect(mount.run('echo more >> open/suid; stat -c %a open/suid', { uid: 65534 })).toBe('777\n')
  })

  test('flock and fcntl locks are held by the kernel', () => {
    expect(
      mount.run(
        'touch lock; exec 3> lock; flock 3; flock -n lock true || echo refused; flock -u 3; flock -n lock echo got',
      ),
    ).toBe('refused\ngot\n')
  })
})

describe('what is not supported', () => {
  test('ioctl is ENOTTY', () => {
    expect(
      mount.python(`
import fcntl, os
fd = os.open('t1', os.O_RDONLY)
try: fcntl.ioctl(fd, 0x1234)
except OSError as e: print(e.errno)`),
    ).toBe('25\n')
  })
})

/** Linux 6.18 has the notification. */
const canForget = (([major = 0, minor = 0]) => major > 6 || (major === 6 && minor >= 18))(
  release().split('.').map(Number),
)

describe('notifications', () => {
  test.skipIf(!canForget)('inodes that nothing uses are forgotten on request', async () => {
    mount.run('echo idle > idle; echo busy > busy')
    const holding = spawn('tail', ['-f', join(mount.path, 'busy')])
    await once(holding.stdout, 'data')
    expect(await mount.order({ do: 'references', name: 'idle' })).toBeGreaterThan(0)
    await mount.order({ do: 'forget', names: ['idle', 'busy'] })
    await vi.waitFor(async () => expect(await mount.order({ do: 'references', name: 'idle' })).toBe(0))
    expect(await mount.order({ do: 'references', name: 'busy' })).toBeGreaterThan(0)
    expect(mount.run('cat idle busy')).toBe('idle\nbusy\n')
    holding.kill()
  })

  test('cached pages are read again after invalidateInode', async () => {
    mount.run('printf "old data" > cached; cat cached')
    await mount.order({ do: 'poke', name: 'cached', off: 0, text: 'new' })
    expect(mount.run('cat cached')).toBe('old data')
    await mount.order({ do: 'invalidate', name: 'cached', entry: false })
    expect(mount.run('cat cached')).toBe('new data')
  })

  test('a cached name is looked up again after invalidateEntry', async () => {
    mount.run('touch fleeting; stat fleeting')
    await mount.order({ do: 'vanish', name: 'fleeting' })
    mount.run('stat fleeting')
    await mount.order({ do: 'invalidate', name: 'fleeting', entry: true })
    expect(() => mount.run('stat fleeting')).toThrow(/No such file/)
  })
})
