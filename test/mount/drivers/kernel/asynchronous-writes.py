"""Asynchronous O_DIRECT writes beside buffered readers, as xfstests generic/451: prints how many cached pages are stale.

usage: asynchronous-writes.py FILE ROUNDS
"""
import ctypes
import mmap
import os
import platform
import random
import sys
import threading

PAGE = 4096
FILE_PAGES = 256
BATCH = 32
IOCB_CMD_PWRITE = 1
IO_SETUP, IO_SUBMIT, IO_GETEVENTS = (206, 209, 208) if platform.machine() == "x86_64" else (0, 2, 4)
IO_EVENT_BYTES = 32

syscall = ctypes.CDLL(None, use_errno=True).syscall


class Iocb(ctypes.Structure):
    """struct iocb of linux/aio_abi.h."""

    _fields_ = [
        ("data", ctypes.c_uint64),
        ("key", ctypes.c_uint32),
        ("rw_flags", ctypes.c_int32),
        ("opcode", ctypes.c_uint16),
        ("priority", ctypes.c_int16),
        ("fd", ctypes.c_uint32),
        ("buffer", ctypes.c_uint64),
        ("length", ctypes.c_uint64),
        ("offset", ctypes.c_int64),
        ("reserved", ctypes.c_uint64),
        ("flags", ctypes.c_uint32),
        ("result_fd", ctypes.c_uint32),
    ]


def check(result):
    if result < 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
    return result


path, rounds = sys.argv[1], int(sys.argv[2])
buffered = os.open(path, os.O_RDWR | os.O_CREAT)
os.pwrite(buffered, bytes(FILE_PAGES * PAGE), 0)
os.fsync(buffered)
direct = os.open(path, os.O_RDWR | os.O_DIRECT)
context = ctypes.c_uint64(0)
check(syscall(IO_SETUP, 64, ctypes.byref(context)))
buffers = [mmap.mmap(-1, PAGE) for _ in range(BATCH)]
addresses = [ctypes.addressof(ctypes.c_char.from_buffer(buffer)) for buffer in buffers]
events = ctypes.create_string_buffer(IO_EVENT_BYTES * 64)


def write(pages, value):
    """Writes pages by requests that run at the same time; returns when all have completed."""
    requests = []
    for page, buffer, address in zip(pages, buffers, addresses):
        buffer[:] = bytes([value]) * PAGE
        requests.append(
            Iocb(opcode=IOCB_CMD_PWRITE, fd=direct, buffer=address, length=PAGE, offset=page * PAGE)
        )
    pointers = (ctypes.c_uint64 * BATCH)(*[ctypes.addressof(request) for request in requests])
    submitted = completed = 0
    while submitted < BATCH:
        rest = ctypes.byref(pointers, 8 * submitted)
        submitted += check(syscall(IO_SUBMIT, context, ctypes.c_long(BATCH - submitted), rest))
    while completed < BATCH:
        most = ctypes.c_long(BATCH - completed)
        completed += check(syscall(IO_GETEVENTS, context, ctypes.c_long(1), most, events, None))


running = True


def read():
    descriptor = os.open(path, os.O_RDONLY)
    while running:
        os.pread(descriptor, FILE_PAGES * PAGE, 0)


readers = [threading.Thread(target=read) for _ in range(4)]
for reader in readers:
    reader.start()
stale = 0
for turn in range(rounds):
    value = turn % 255 + 1
    pages = random.sample(range(FILE_PAGES), BATCH)
    write(pages, value)
    stale += sum(os.pread(buffered, PAGE, page * PAGE) != bytes([value]) * PAGE for page in pages)
running = False
for reader in readers:
    reader.join()
print(stale)
sys.stdout.flush()
os._exit(0)
