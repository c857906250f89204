"""Asynchronous O_DIRECT appends of several megabytes, which the kernel sends in parts that run at the same time.

usage: asynchronous-appends.py FILE NUMBER ROUNDS

Each record begins every page with NUMBER, its round, and the page's index.
"""
import os
import struct
import sys

from aio import Requests, aligned

PAGE = 4096
RECORD_PAGES = 768
AT_ONCE = 2

path, number, rounds = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_DIRECT, 0o644)
requests = Requests()
buffers = [aligned(RECORD_PAGES * PAGE) for _ in range(AT_ONCE)]
for first in range(0, rounds, AT_ONCE):
    for turn, (buffer, _) in enumerate(buffers, first):
        for page in range(RECORD_PAGES):
            struct.pack_into("<III", buffer, page * PAGE, number, turn, page)
    # An append ignores the offset.
    requests.write(fd, [(address, RECORD_PAGES * PAGE, 0) for _, address in buffers])
