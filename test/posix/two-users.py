"""What two users may do to every kind of file, in every kind of directory: a table, printed as JSON.

    python3 test/posix/two-users.py DIR      (as root; DIR may be entered by all)

For each kind of object, container and actor, root makes an object for each operation; a process that is the actor, with all of its
user ids, performs the operations, each on its own object; root then looks at what became of it. Two filesystems are alike if
their tables are.
"""

import errno
import json
import os
import socket
import stat
import sys

OWNER = (65534, 65534)  # owns the objects
OTHER = (64123, 64123)
ACTORS = {"owner": OWNER, "other": OTHER}


def make_file(path, mode=0o644, text=b"content"):
    with open(path, "wb") as file:
        file.write(text)
    os.chown(path, *OWNER)
    os.chmod(path, mode)


def make_directory(path, mode=0o755, full=False):
    os.mkdir(path)
    if full:
        make_file(path + "/inside")
    os.chown(path, *OWNER)
    os.chmod(path, mode)


def make_link(path, target):
    os.symlink(target, path)
    os.lchown(path, *OWNER)


def make_node(path, kind):
    os.mknod(path, kind | 0o644, os.makedev(1, 3) if kind == stat.S_IFCHR else 0)
    os.chown(path, *OWNER)


def make_socket(path):
    # A socket's path is short; it is made by its name in the directory.
    before = os.open(".", os.O_PATH)
    os.chdir(os.path.dirname(path))
    with socket.socket(socket.AF_UNIX) as made:
        made.bind(os.path.basename(path))
    os.fchdir(before)
    os.close(before)
    os.chown(path, *OWNER)
    os.chmod(path, 0o644)


def make_linked(path):
    make_file(path)
    os.link(path, path + ".second")


KINDS = {
    "private file": lambda path: make_file(path, 0o600),
    "file": make_file,
    "empty file of all": lambda path: make_file(path, 0o666, b""),
    "setuid program": lambda path: make_file(path, 0o4777),
    "setgid file of the group": lambda path: make_file(path, 0o2775),
    "file with two names": make_linked,
    "directory": make_directory,
    "directory of all": lambda path: make_directory(path, 0o777, True),
    "sticky directory": lambda path: make_directory(path, 0o1777, True),
    "closed directory": lambda path: make_directory(path, 0o700, True),
    "link to a file": lambda path: (make_file(path + ".target"), make_link(path, "it.target")),
    "link to nothing": lambda path: make_link(path, "nothing"),
    "FIFO": lambda path: make_node(path, stat.S_IFIFO),
    "device": lambda path: make_node(path, stat.S_IFCHR),
    "socket": make_socket,
}

CONTAINERS = {"of the owner": (OWNER, 0o755), "of all": ((0, 0), 0o777), "sticky": ((0, 0), 0o1777)}


def opened(path, flags, use=lambda fd: None):
    fd = os.open(path, flags | os.O_NONBLOCK)
    try:
        return use(fd)
    finally:
        os.close(fd)


def copied(path):
    """Copies a byte of a file of one's own into it."""
    with open(os.path.dirname(path) + "/mine", "rb") as source:
        return opened(path, os.O_WRONLY, lambda fd: os.copy_file_range(source.fileno(), fd, 1))


OPERATIONS = {
    "read": lambda path: opened(path, os.O_RDONLY, lambda fd: len(os.read(fd, 100))),
    "write": lambda path: opened(path, os.O_WRONLY, lambda fd: os.write(fd, b"x")),
    "append": lambda path: opened(path, os.O_WRONLY | os.O_APPEND, lambda fd: os.write(fd, b"x")),
    "empty by opening": lambda path: opened(path, os.O_WRONLY | os.O_TRUNC),
    "truncate": lambda path: os.truncate(path, 3),
    "read without noting it": lambda path: opened(path, os.O_RDONLY | os.O_NOATIME),
    "allocate": lambda path: opened(path, os.O_WRONLY, lambda fd: os.posix_fallocate(fd, 0, 5000)),
    "copy into": copied,
    "create exclusively": lambda path: opened(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL),
    "open or create": lambda path: opened(path, os.O_WRONLY | os.O_CREAT),
    "unlink": os.unlink,
    "rmdir": os.rmdir,
    "rename": lambda path: os.rename(path, path + ".new"),
    "rename into another directory": lambda path: os.rename(path, os.path.dirname(path) + "/place/new"),
    "replace": lambda path: os.rename(os.path.dirname(path) + "/mine", path),
    "link": lambda path: os.link(path, path + ".link", follow_symlinks=False),
    "symlink over": lambda path: os.symlink("x", path),
    "chmod": lambda path: os.chmod(path, 0o640),
    "chmod setuid and setgid": lambda path: os.chmod(path, 0o6755),
    "chown to oneself": lambda path: os.chown(path, os.getuid(), -1),
    "chown to the same": lambda path: os.chown(path, OWNER[0], OWNER[1]),
    "chgrp": lambda path: os.chown(path, -1, os.getgid()),
    "lchown": lambda path: os.lchown(path, os.getuid(), os.getgid()),
    "touch": lambda path: os.utime(path),
    "set times": lambda path: os.utime(path, (1, 2)),
    "list": lambda path: sorted(os.listdir(path)),
    "enter": lambda path: os.stat(path + "/inside").st_size,
    "make a file in": lambda path: opened(path + "/made", os.O_WRONLY | os.O_CREAT),
    "make a directory in": lambda path: os.mkdir(path + "/made"),
    "make a FIFO in": lambda path: os.mkfifo(path + "/made"),
    "make a device in": lambda path: os.mknod(path + "/made", stat.S_IFCHR | 0o600, os.makedev(1, 3)),
    "remove what is in": lambda path: os.unlink(path + "/inside"),
    "readlink": os.readlink,
    "may execute": lambda path: os.access(path, os.X_OK),
    "may write": lambda path: os.access(path, os.W_OK),
    "set an attribute": lambda path: os.setxattr(path, "user.a", b"x"),
    "set an attribute of the system": lambda path: os.setxattr(path, "trusted.a", b"x"),
    "set capabilities": lambda path: os.setxattr(path, "security.capability", b"x"),
    "get an attribute": lambda path: os.getxattr(path, "user.a"),
    "list attributes": lambda path: [name for name in os.listxattr(path) if name.startswith(("user.", "trusted."))],
}

# What the directory has a say in, too: tried in every kind of directory.
OF_NAMES = {
    "create exclusively", "unlink", "rmdir", "rename", "rename into another directory", "replace", "link", "symlink over",
}  # fmt: skip
NEED_MINE = {"replace", "copy into"}


def outcome(operation, path):
    try:
        result = operation(path)
    except OSError as error:
        return errno.errorcode[error.errno]
    return result if isinstance(result, (int, str, list)) else "done"


def become(uid, gid):
    os.setgroups([])
    os.setresgid(gid, gid, gid)
    os.setresuid(uid, uid, uid)


def as_actor(actor, names, places):
    """The outcomes of operations, performed by a process of the actor."""
    read_end, write_end = os.pipe()
    pid = os.fork()
    if pid == 0:
        os.umask(0o022)
        become(*actor)
        results = [outcome(OPERATIONS[name], place + "/it") for name, place in zip(names, places)]
        with os.fdopen(write_end, "w") as pipe:
            pipe.write(json.dumps(results))
        os._exit(0)
    os.close(write_end)
    with os.fdopen(read_end) as pipe:
        text = pipe.read()
    os.waitpid(pid, 0)
    return json.loads(text)


def look(place):
    """What is in a place afterwards: names, types, modes, owners, and sizes and link counts of all but directories."""
    seen = {}
    for directory, below, files in os.walk(place):
        for name in sorted(below + files):
            path = os.path.join(directory, name)
            found = os.lstat(path)
            facts = [oct(found.st_mode), found.st_uid, found.st_gid]
            if not stat.S_ISDIR(found.st_mode):
                facts += [found.st_size, found.st_nlink]
            seen[os.path.relpath(path, place)] = facts
    return seen


def make_place(place, name, make, ids, owner, mode):
    os.mkdir(place)
    make(place + "/it")
    if name in NEED_MINE:
        make_file(place + "/mine")
        os.chown(place + "/mine", *ids)
    if name == "rename into another directory":
        os.mkdir(place + "/place")
        os.chown(place + "/place", *ids)
    os.chown(place, *owner)
    os.chmod(place, mode)


def main(top):
    os.umask(0)
    table = {}
    count = 0
    for container, (owner, mode) in CONTAINERS.items():
        names = [name for name in OPERATIONS if container == "of the owner" or name in OF_NAMES]
        for kind, make in KINDS.items():
            for actor, ids in ACTORS.items():
                places = []
                for name in names:
                    count += 1
                    places.append(f"{top}/{count}")
                    make_place(places[-1], name, make, ids, owner, mode)
                results = as_actor(ids, names, places)
                for name, result, place in zip(names, results, places):
                    table[f"{actor}: {name}: {kind}: in a directory {container}"] = [result, look(place)]
    json.dump(table, sys.stdout)


main(sys.argv[1])
