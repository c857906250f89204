"""Asynchronous O_DIRECT writes beside buffered readers, as xfstests generic/451: prints how many cached pages are stale.

usage: asynchronous-writes.py FILE ROUNDS
"""
import os
import random
import sys
import threading

from aio import Requests, aligned

PAGE = 4096
FILE_PAGES = 256
BATCH = 32

path, rounds = sys.argv[1], int(sys.argv[2])
buffered = os.open(path, os.O_RDWR | os.O_CREAT)
os.pwrite(buffered, bytes(FILE_PAGES * PAGE), 0)
os.fsync(buffered)
direct = os.open(path, os.O_RDWR | os.O_DIRECT)
requests = Requests()
buffers = [aligned(PAGE) for _ in range(BATCH)]


def write(pages, value):
    """Writes pages by requests that run at the same time; returns when all have completed."""
    for buffer, _ in buffers:
        buffer[:] = bytes([value]) * PAGE
    requests.write(direct, [(address, PAGE, page * PAGE) for page, (_, address) in zip(pages, buffers)])


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
