import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { runProgram } from '../../../tools/run-zblkfs.ts'
import { ServedMount } from '../kernel/served-mount.ts'

let mount: ServedMount
beforeAll(async () => {
  mount = await ServedMount.start({ driver: 'fuse-native', allowOther: true })
})
afterAll(async () => {
  await mount?.stop()
})

describe('data', () => {
  test('a file written by dd is read back by cat', () => {
    const source = mount.run('head -c 20000000 /dev/urandom | tee ../source | sha256sum')
    mount.run('dd if=../source of=a bs=1M status=none')
    expect(mount.run('sha256sum < a')).toBe(source)
    mount.run('sync a; dd if=a iflag=nocache count=0 status=none')
    expect(mount.run('cat a | sha256sum')).toBe(source)
    expect(mount.run('stat -c %s a')).toBe('20000000\n')
  })

  test('sizes and offsets beyond 2^53 arrive exactly', () => {
    const far = 2n ** 62n + 3n
    expect(
      mount.python(`
import os
fd = os.open('far', os.O_RDWR | os.O_CREAT)
os.pwrite(fd, b'end', 2**62)
print(os.pread(fd, 10, 2**62), os.fstat(fd).st_size)
os.ftruncate(fd, 2**61 + 1)
print(os.fstat(fd).st_size)
os.truncate('far', 7)
print(os.stat('far').st_size)`),
    ).toBe(`b'end' ${far}\n${2n ** 61n + 1n}\n7\n`)
  })

  test('O_TRUNC empties, O_APPEND appends, O_EXCL refuses', () => {
    expect(mount.run('echo one > t; echo two > t; echo three >> t; cat t')).toBe('two\nthree\n')
    expect(() => mount.run('set -C; echo four > t')).toThrow(/cannot overwrite/)
  })
})

describe('names', () => {
  test('a missing file is ENOENT, a name of 256 bytes ENAMETOOLONG', () => {
    expect(() => mount.run('cat missing')).toThrow(/No such file/)
    expect(() => mount.run(`touch ${'x'.repeat(256)}`)).toThrow(/File name too long/)
    mount.run(`touch ${'x'.repeat(255)}; rm ${'x'.repeat(255)}`)
  })

  test('a name that is not UTF-8 is refused, never mistaken for another', () => {
    mount.run(`touch 'ü€😀'`)
    expect(mount.run('ls')).toContain('ü€😀\n')
    expect(() => mount.run(`touch $'bad\\xff'`)).toThrow(/multibyte/)
    expect(mount.run('ls')).not.toContain('bad')
  })

  test('a directory of 3,000 entries lists each once', () => {
    expect(mount.run('mkdir many; cd many; touch $(seq 3000); ls | sort -u | wc -l; cd ..; rm -r many')).toBe(
      '3000\n',
    )
  })

  test('directories, renames and links', () => {
    mount.run('mkdir d; echo x > d/f; mv d e; ln e/f hard; ln -s e/f soft')
    expect(mount.run('cat e/f hard soft; stat -c %h hard')).toBe('x\nx\nx\n2\n')
    expect(() => mount.run('rmdir e')).toThrow(/not empty/)
    mount.run('rm -r e hard soft')
  })

  test('a symbolic link reads correctly after big reads on the same threads', () => {
    mount.run(`ln -s ${'t'.repeat(200)} link; head -c 4000000 /dev/zero > zeros`)
    for (let i = 0; i < 5; i++) {
      mount.run(
        'sync zeros; dd if=zeros iflag=nocache count=0 status=none; cat zeros zeros zeros > /dev/null',
      )
      expect(mount.run('readlink link')).toBe(`${'t'.repeat(200)}\n`)
    }
  })
})

describe('attributes', () => {
  test('mode, owner and both times are kept, times to the millisecond', () => {
    mount.run('touch f; chown 12:34 f; chmod 4751 f')
    mount.python(`import os; os.utime('f', ns=(1111111111222000000, 2222222222333000000))`)
    expect(mount.run("stat -c '%a %u %g' f")).toBe('4751 12 34\n')
    expect(mount.python(`import os; print(os.stat('f').st_atime_ns, os.stat('f').st_mtime_ns)`)).toBe(
      '1111111111222000000 2222222222333000000\n',
    )
  })

  test('extended attributes of any length come back, and a buffer that is too small is ERANGE', () => {
    expect(
      mount.python(`
import os, ctypes
libc = ctypes.CDLL(None, use_errno=True)
open('x', 'w').close()
os.setxattr('x', 'user.empty', b'')
os.setxattr('x', 'user.long', b'v' * 5000)
print(os.getxattr('x', 'user.empty'), len(os.getxattr('x', 'user.long')), sorted(os.listxattr('x')))
buffer = ctypes.create_string_buffer(100)
print(libc.getxattr(b'x', b'user.long', buffer, 100), ctypes.get_errno())
os.removexattr('x', 'user.long')
print(os.listxattr('x'))`),
    ).toBe("b'' 5000 ['user.empty', 'user.long']\n-1 34\n['user.empty']\n")
  })

  test('a filesystem of more than 2^32 blocks is reported in larger blocks', () => {
    const [blocks = 0, size = 0] = mount.run("stat -f -c '%b %S' .").split(' ').map(Number)
    expect(blocks).toBeLessThan(2 ** 32)
    expect(blocks * size).toBeGreaterThan(0)
  })
})

describe('files that are unlinked while open', () => {
  test('stay readable and writable, and leave no name behind', () => {
    expect(
      mount.python(`
import os
fd = os.open('open', os.O_RDWR | os.O_CREAT)
os.write(fd, b'before')
os.unlink('open')
os.write(fd, b' after')
print(os.pread(fd, 100, 0), os.fstat(fd).st_nlink, [n for n in os.listdir('.') if 'hidden' in n])
os.ftruncate(fd, 3)
print(os.fstat(fd).st_size)
os.close(fd)`),
    ).toBe("b'before after' 0 []\n3\n")
  })

  test('in a directory that is renamed, and that cannot be removed meanwhile', () => {
    expect(
      mount.python(`
import os
os.mkdir('dir')
fd = os.open('dir/open', os.O_RDWR | os.O_CREAT)
os.write(fd, b'data')
os.unlink('dir/open')
os.rename('dir', 'moved')
print(os.fstat(fd).st_size)
try: os.rmdir('moved')
except OSError as e: print(e.strerror)
os.mkdir('other')
try: os.rename('other', 'moved')
except OSError as e: print(e.strerror)
print(os.pread(fd, 10, 0))
os.close(fd)
os.rename('other', 'moved')
os.rmdir('moved')`),
    ).toBe("4\nDirectory not empty\nDirectory not empty\nb'data'\n")
  })

  test('and replaced by a rename', () => {
    expect(
      mount.python(`
import os
open('target', 'w').write('old')
fd = os.open('target', os.O_RDONLY)
open('source', 'w').write('new')
os.rename('source', 'target')
print(os.pread(fd, 10, 0), open('target').read())
os.close(fd)`),
    ).toBe("b'old' new\n")
  })

  test('do not hide a user’s own name of that form', () => {
    const name = '.fuse_hidden0000000100000001'
    expect(mount.run(`echo mine > plain; mv plain ${name}; cat ${name}; rm ${name}`)).toBe('mine\n')
  })
})

test('no inode is kept without a use', async () => {
  mount.run(
    'mkdir -p p/q/r; for i in $(seq 200); do echo $i > p/q/r/$i; done; cat p/q/r/* > /dev/null; rm -r p',
  )
  mount.run('for f in $(ls); do rm -rf "$f"; done')
  expect(await mount.order({ do: 'inodes' })).toBe(1)
})

test('the server ends when another process unmounts', async () => {
  const other = await ServedMount.start({ driver: 'fuse-native' })
  const ended = new Promise(resolve => other.server.once('exit', resolve))
  try {
    expect((await runProgram('umount', [other.path])).exitCode).toBe(0)
    expect(await ended).toBe(0)
  } finally {
    await other.stop()
  }
})
