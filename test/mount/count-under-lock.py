"""count-under-lock.py FILE COUNT fcntl|flock: adds 1 to the number in FILE so often, each time under a lock. The file stays open."""
import fcntl
import os
import sys

path, count, kind = sys.argv[1], int(sys.argv[2]), sys.argv[3]
lock = fcntl.lockf if kind == "fcntl" else fcntl.flock
fd = os.open(path, os.O_RDWR)
for _ in range(count):
    lock(fd, fcntl.LOCK_EX)
    number = int(os.pread(fd, 20, 0) or b"0")
    os.pwrite(fd, b"%d" % (number + 1), 0)
    lock(fd, fcntl.LOCK_UN)
