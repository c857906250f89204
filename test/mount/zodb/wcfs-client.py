"""A client of WCFS's isolation protocol: maps a file of head/ and, block by block, what is pinned.

Usage: wcfs-client.py MOUNT FILE BLKSIZE, with commands on standard input, each answered by a line:
    watch @TID    the answer of the mount
    head TID      'ok' once head/at is TID
    read COUNT    the SHA-256 of the first blocks as they are mapped, as JSON
"""
import ctypes, hashlib, json, mmap, os, sys, threading, time

libc = ctypes.CDLL(None, use_errno=True)
libc.mmap.restype = ctypes.c_void_p
libc.mmap.argtypes = [ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int, ctypes.c_int, ctypes.c_int, ctypes.c_long]
MAP_FIXED = 0x10
BLOCKS_MAX = 64

mount, file, blksize = sys.argv[1], sys.argv[2], int(sys.argv[3])
head = os.open(f'{mount}/head/bigfile/{file}', os.O_RDONLY)
base = libc.mmap(None, BLOCKS_MAX * blksize, 0, mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS, -1, 0)


def map_block(blk, fd):
    at = libc.mmap(base + blk * blksize, blksize, mmap.PROT_READ, mmap.MAP_SHARED | MAP_FIXED, fd, blk * blksize)
    assert at == base + blk * blksize, ctypes.get_errno()


for blk in range(BLOCKS_MAX):
    map_block(blk, head)
link = os.open(f'{mount}/head/watch', os.O_RDWR)
answers = {}
answered = threading.Condition()


def block_at(blk):
    # Without the GIL: a page fault may have to wait until the other thread has answered a pin.
    block = ctypes.create_string_buffer(blksize)
    libc.memcpy(block, ctypes.c_void_p(base + blk * blksize), ctypes.c_size_t(blksize))
    return block.raw


def receive():
    rest = b''
    while True:
        part = os.read(link, 4096)
        if not part:
            return
        *lines, rest = (rest + part).split(b'\n')
        for line in lines:
            number, _, message = line.decode().partition(' ')
            if int(number) % 2 == 1:
                with answered:
                    answers[int(number)] = message
                    answered.notify_all()
                continue
            _, _, blk, rev = message.split(' ')
            if rev == '@head':
                map_block(int(blk[1:]), head)
            else:
                fd = os.open(f'{mount}/{rev}/bigfile/{file}', os.O_RDONLY)
                map_block(int(blk[1:]), fd)
                os.close(fd)
            os.write(link, f'{number} ack\n'.encode())


threading.Thread(target=receive, daemon=True).start()
number = -1
for command in sys.stdin:
    verb, _, argument = command.strip().partition(' ')
    if verb == 'watch':
        number += 2
        os.write(link, f'{number} watch {file} {argument}\n'.encode())
        with answered:
            answered.wait_for(lambda: number in answers)
        # The kernel asks for the file's size, beyond which mapped memory cannot be read.
        os.fstat(head)
        print(answers[number], flush=True)
    elif verb == 'head':
        while open(f'{mount}/head/at').read() != argument:
            time.sleep(0.01)
        print('ok', flush=True)
    else:
        blocks = (block_at(blk) for blk in range(int(argument)))
        print(json.dumps([hashlib.sha256(block).hexdigest() for block in blocks]), flush=True)
