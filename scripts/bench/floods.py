"""Floods of one kind of operation in a directory, by several processes at once, for a number of seconds: floods.py KIND DIR SECONDS."""

import fcntl
import os
import resource
import sys
import time

PROCESSES = 4
LONG = "n" * 240


def until(end, step):
    number = 0
    while time.monotonic() < end:
        step(number)
        number += 1
    return number


def numbered(prefix, number):
    return f"{prefix}{number}"


def attributes(top, end):
    path = top + "/file"
    open(path, "w").close()
    return until(end, lambda n: os.setxattr(path, f"user.{n % 3}", os.urandom(65_000)))


def modes(top, end):
    """Files with 195 KB of attributes, whose modes change."""
    paths = [numbered(top + "/file", n) for n in range(60)]
    for path in paths:
        open(path, "w").close()
        for name in "abc":
            os.setxattr(path, "user." + name, b"x" * 65_000)
    return until(end, lambda n: os.chmod(paths[n % len(paths)], 0o600 + n // len(paths) % 2))


def symlinks(top, end):
    return until(end, lambda n: os.symlink("t" * 4000, f"{top}/{n}"))


def names(top, end):
    return until(end, lambda n: open(f"{top}/{LONG}{n}", "w").close())


def links(top, end):
    open(top + "/file", "w").close()
    return until(end, lambda n: os.link(top + "/file", f"{top}/{LONG}{n}"))


def directories(top, end):
    return until(end, lambda n: os.mkdir(f"{top}/{LONG}{n}"))


def renames(top, end):
    open(top + "/0", "w").close()
    return until(end, lambda n: os.rename(f"{top}/{n}", f"{top}/{n + 1}"))


def locks(top, end):
    files = [open(numbered(top + "/file", n), "w") for n in range(200)]
    return until(end, lambda n: fcntl.lockf(files[n % 200], fcntl.LOCK_EX, 1, n))


def handles(top, end):
    limit = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (limit, limit))
    opened = []
    try:
        until(end, lambda n: opened.append(os.open(f"{top}/{n}", os.O_RDWR | os.O_CREAT)) if n < 20_000 else time.sleep(0.1))
    except OSError:
        time.sleep(max(0, end - time.monotonic()))
    return len(opened)


def listings(top, end):
    for n in range(3000):
        open(f"{top}/{LONG}{n}", "w").close()
    opened = []

    def listing(_):
        opened.append(os.scandir(top))
        for _ in opened[-1]:
            pass

    return until(end, lambda n: listing(n) if len(opened) < 900 else time.sleep(0.1))


def writes(top, end):
    file = os.open(top + "/file", os.O_RDWR | os.O_CREAT)
    block = os.urandom(1 << 20)
    return until(end, lambda n: os.pwrite(file, block, (n % 200) << 20))


def small_writes(top, end):
    file = os.open(top + "/file", os.O_RDWR | os.O_CREAT)
    return until(end, lambda n: os.pwrite(file, b"x" * 100, n * 12_289 % (1 << 33)))


def unlinked(top, end):
    def step(n):
        file = os.open(f"{top}/{n}", os.O_RDWR | os.O_CREAT)
        os.write(file, b"x" * 5000)
        os.unlink(f"{top}/{n}")
        os.close(file)

    return until(end, step)


def moments(top, end):
    """Lists ever different moments of the past."""
    root = os.path.dirname(os.path.dirname(top))

    def step(n):
        try:
            os.listdir(f"{root}/@{n % 600 + 1}s")
        except OSError:
            pass

    return until(end, step)


KINDS = {
    "attributes": attributes, "modes": modes, "symlinks": symlinks, "names": names, "links": links, "directories": directories,
    "renames": renames, "locks": locks, "handles": handles, "listings": listings, "writes": writes, "small-writes": small_writes,
    "unlinked": unlinked, "moments": moments,
}  # fmt: skip


def main(kind, top, seconds):
    end = time.monotonic() + float(seconds)
    pipes = []
    for number in range(PROCESSES):
        read_end, write_end = os.pipe()
        pipes.append(read_end)
        if os.fork() == 0:
            below = f"{top}/{kind}-{number}"
            os.mkdir(below)
            os.write(write_end, str(KINDS[kind](below, end)).encode())
            os._exit(0)
        os.close(write_end)
    print(sum(int(os.read(pipe, 100) or 0) for pipe in pipes))


if len(sys.argv) == 2 and sys.argv[1] == "--list":
    print("\n".join(KINDS))
else:
    main(*sys.argv[1:4])
