"""Reports of faults in other filesystems, each tried as its reporter did.

python3 public-reports.py list            prints the names of the cases
python3 public-reports.py run CASE DIR    runs one in a new directory below DIR; exits 0 when it holds
"""
import ctypes
import errno
import fcntl
import mmap
import os
import shutil
import sqlite3
import subprocess
import sys
import time
CASES = {}


def case(name):
    def add(function):
        CASES[name] = function
        return function
    return add


@case('renamed-fd')
def renamed_fd():
    # What is written through a descriptor of a renamed file is in the renamed file. (littlefs-project/littlefs-fuse #78)
    fd = os.open('1', os.O_CREAT | os.O_WRONLY | os.O_TRUNC)
    os.rename('1', '2')
    os.write(fd, b'0123456789')
    os.close(fd)
    assert open('2', 'rb').read() == b'0123456789'


@case('rename-over-open-unlinked')
def rename_over_open_unlinked():
    # Open files whose name was removed or replaced keep their own bytes. (trapexit/mergerfs #619)
    open('a', 'w').write('a')
    f = open('a', 'r+')
    os.unlink('a')
    open('b', 'w').write('b')
    os.rename('b', 'a')
    open('c', 'w').write('c')
    g = open('a')
    os.rename('c', 'a')
    assert g.read() == 'b' and f.read() == 'a'
    f.seek(0)
    f.write('z')
    f.flush()
    f.seek(0)
    assert f.read() == 'z' and open('a').read() == 'c'


@case('renamed-directory')
def renamed_directory():
    # A file made in a directory that was just renamed lies under the new name; a rename onto a full directory is refused. (ipfs/kubo #11430)
    os.mkdir('d')
    h = os.open('d', os.O_DIRECTORY)
    os.rename('d', 'e')
    os.close(os.open('new', os.O_CREAT | os.O_WRONLY, dir_fd=h))
    assert os.listdir('e') == ['new']
    assert not os.path.exists('d')
    os.mkdir('f')
    open('f/x', 'w').close()
    try:
        os.rename('e', 'f')
        assert 0
    except OSError as e:
        assert e.errno in (errno.ENOTEMPTY, errno.EEXIST)
    time.sleep(1.5)
    assert sorted(os.listdir('.')) == ['e', 'f']


@case('sqlite-wal-mmap')
def sqlite_wal_mmap():
    # SQLite with a WAL and mapped pages, from two connections. (gsd-build/gsd-2 #3396, ethereum/go-ethereum #15300)
    c = sqlite3.connect('x.db')
    c.execute('pragma journal_mode=wal')
    c.execute('pragma mmap_size=67108864')
    c.execute('create table t(a,b)')
    for i in range(50):
        c.executemany('insert into t values(?,?)', ((j, os.urandom(500)) for j in range(100)))
        c.commit()
    c2 = sqlite3.connect('x.db')
    c2.execute('pragma mmap_size=67108864')
    assert c2.execute('select count(*) from t').fetchone()[0] == 5000
    c.execute('vacuum')
    assert c2.execute('pragma integrity_check').fetchone()[0] == 'ok'


@case('seekdir')
def seekdir():
    # Every position that telldir gave leads back to its entry. (libfuse/libfuse #65, libfuse/sshfs #211)
    for i in range(500):
        open(f'f{i:04}', 'w').close()
    libc = ctypes.CDLL(None, use_errno=True)
    libc.opendir.restype = ctypes.c_void_p

    class D(ctypes.Structure):
        _fields_ = [('ino', ctypes.c_uint64), ('off', ctypes.c_int64), ('len', ctypes.c_uint16), ('t', ctypes.c_uint8), ('name', ctypes.c_char * 256)]
    libc.readdir.restype = ctypes.POINTER(D)
    libc.telldir.restype = ctypes.c_long
    libc.seekdir.argtypes = [ctypes.c_void_p, ctypes.c_long]
    for a in ('readdir', 'telldir', 'closedir', 'rewinddir'):
        getattr(libc, a).argtypes = [ctypes.c_void_p]
    p = libc.opendir(b'.')
    names = []
    pos = {}
    while True:
        t = libc.telldir(p)
        e = libc.readdir(p)
        if not e:
            break
        names.append(e.contents.name)
        pos[e.contents.name] = t
    assert len(set(names)) == 502 == len(names)
    for n in names[::-37]:
        libc.seekdir(p, pos[n])
        assert libc.readdir(p).contents.name == n, n
    libc.rewinddir(p)
    open('later', 'w').close()
    os.unlink('f0000')
    seen = []
    while True:
        e = libc.readdir(p)
        if not e:
            break
        seen.append(e.contents.name)
    assert len(seen) == len(set(seen)), 'dup'
    libc.closedir(p)


@case('remove-while-listing')
def remove_while_listing():
    # Removing each entry while a directory is listed leaves none. (klange/toaruos #336, libfuse/pyfuse3 #31)
    for i in range(3000):
        open(f'f{i}', 'w').close()
    n = 0
    with os.scandir('.') as it:
        for e in it:
            os.unlink(e.path)
            n += 1
    assert n == 3000 and os.listdir('.') == [], (n, len(os.listdir('.')))


@case('rename-while-listing')
def rename_while_listing():
    # Renaming each entry while a directory is listed skips and repeats none that was not renamed. (buildbarn/bb-remote-execution #133)
    for i in range(5000):
        open(f'a{i}', 'w').close()
    seen = []
    with os.scandir('.') as it:
        for e in it:
            seen.append(e.name)
            if e.name[0] == 'a':
                os.rename(e.name, 'b' + e.name[1:])
    a = [x for x in seen if x[0] == 'a']
    assert len(a) == len(set(a)) == 5000, len(a)
    assert len(os.listdir('.')) == 5000


@case('mtime-stays')
def mtime_stays():
    # A time that was set stays, also when data was written before it and is stored later. (seaweedfs/seaweedfs #9363, mar-file-system/marfs #174)
    f = open('s', 'w')
    f.write('x' * 100000)
    f.flush()
    os.utime('s', ns=(10 ** 18, 10 ** 18 + 123456789))
    f.close()
    for i in range(14):
        assert os.stat('s').st_mtime_ns == 10 ** 18 + 123456789
        time.sleep(0.5)


@case('touch-md')
def touch_md():
    # One of two times is set without the other, to the nanosecond, before 1970 and after 2038. (cryfs/cryfs #379, rflament/loggedfs #9)
    open('t', 'w').close()
    a = os.stat('t').st_atime_ns
    subprocess.check_call(['touch', '-md', '2019-03-26 13:27:19.030303211 UTC', 't'])
    assert os.stat('t').st_mtime_ns == 1553606839030303211 and os.stat('t').st_atime_ns == a
    subprocess.check_call(['touch', '-ad', '2300-01-01 UTC', 't'])
    assert os.stat('t').st_atime == 10413792000, os.stat('t').st_atime
    assert os.stat('t').st_mtime_ns == 1553606839030303211
    subprocess.check_call(['touch', '-d', '1903-01-01 00:00:00.5 UTC', 't'])
    assert os.stat('t').st_mtime_ns == -2114380800 * 10 ** 9 + 5 * 10 ** 8, os.stat('t').st_mtime_ns


@case('glib-save')
def glib_save():
    # An editor that saves by writing a new file and renaming it over the old one. (seaweedfs/seaweedfs #2561)
    open('doc', 'w').write('old' * 1000)
    for i in range(30):
        f = open('.goutputstream', 'w')
        f.write(f'{i}' * 4000)
        f.close()
        os.rename('.goutputstream', 'doc')
        assert open('doc').read() == f'{i}' * 4000


@case('truncate-mmap')
def truncate_mmap():
    # What is cut off a mapped file reads as zeros when the file grows again. (vmware/open-vm-tools #90)
    fd = os.open('m', os.O_RDWR | os.O_CREAT)
    os.ftruncate(fd, 10000)
    m = mmap.mmap(fd, 10000)
    m[9000:9004] = b'abcd'
    os.ftruncate(fd, 5000)
    os.ftruncate(fd, 10000)
    assert os.pread(fd, 4, 9000) == b'\x00' * 4
    assert m[9000:9004] == b'\x00' * 4
    m[4990:5010] = b'q' * 20
    m.flush()
    os.ftruncate(fd, 5000)
    os.ftruncate(fd, 6000)
    assert os.pread(fd, 20, 4990) == b'q' * 10 + b'\x00' * 10


@case('long-names')
def long_names():
    # Names of 255 bytes and links of 4095. (rfjakob/gocryptfs #172)
    n = 'ä' * 127
    open(n, 'w').close()
    assert os.listdir('.') == [n]
    os.rename(n, 'x' * 255)
    try:
        open('x' * 256, 'w')
        assert 0
    except OSError as e:
        assert e.errno == errno.ENAMETOOLONG
    os.symlink('y' * 4095, 'l')
    assert len(os.readlink('l')) == 4095


@case('append-two')
def append_two():
    # Two descriptors that append do not overwrite each other.
    a = open('log', 'ab', 0)
    b = open('log', 'ab', 0)
    for i in range(200):
        a.write(b'a\n')
        b.write(b'b\n')
    assert open('log', 'rb').read() == b'a\nb\n' * 200


@case('lock-of-another')
def lock_of_another():
    # A lock of one process is seen by another.
    f = open('l', 'w')
    fcntl.lockf(f, fcntl.LOCK_EX)
    r = subprocess.run([sys.executable, '-c', 'import fcntl;f=open("l","r+");\ntry: fcntl.lockf(f,fcntl.LOCK_EX|fcntl.LOCK_NB); print("got")\nexcept OSError: print("busy")'], capture_output=True, text=True)
    assert r.stdout == 'busy\n', r


@case('exec-busy')
def exec_busy():
    # A program that is open for writing is not executed.
    shutil.copy('/bin/true', 't')
    f = open('t', 'r+b')
    try:
        subprocess.run(['./t'])
        print('  exec while open for write was allowed')
    except OSError as e:
        assert e.errno == errno.ETXTBSY
    f.close()
    assert subprocess.run(['./t']).returncode == 0


@case('dot-dot-after-move')
def dot_dot_after_move():
    # ".." of an open directory is its new parent after a move.
    os.makedirs('a/b')
    os.makedirs('c')
    h = os.open('a/b', os.O_DIRECTORY)
    os.rename('a/b', 'c/b')
    assert os.stat('..', dir_fd=h).st_ino == os.stat('c').st_ino


@case('link-to-unlinked')
def link_to_unlinked():
    # A file without a name gets none through /proc.
    fd = os.open('u', os.O_CREAT | os.O_RDWR)
    os.write(fd, b'x')
    os.unlink('u')
    try:
        os.link(f'/proc/self/fd/{fd}', 'v', follow_symlinks=True)
        print('  linked an unlinked file?')
    except OSError as e:
        assert e.errno in (errno.ENOENT, errno.EXDEV), e


if sys.argv[1] == 'list':
    print('\n'.join(CASES))
else:
    directory = os.path.join(sys.argv[3], sys.argv[2])
    os.mkdir(directory)
    os.chdir(directory)
    CASES[sys.argv[2]]()
