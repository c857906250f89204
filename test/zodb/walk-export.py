"""Walks a FileStorage that zblkfs has exported with the real persistent, BTrees and zodbpickle, as ZODB would: from the
root mapping through directories to the chunks of every file. BTrees' own checks run on every tree. Prints JSON:
{"files": {path: [size, sha256]}, "classes": {name: how many objects were loaded}}.

Nothing of zblkfs is used; of wendelin.core's classes only the states are needed, so they stand here as they are.
"""

import hashlib
import json
import os
import struct
import sys
import types
from io import BytesIO

import persistent
from BTrees.check import check
from zodbpickle import fastpickle

TRANSACTION = struct.Struct(">8sQcHHH")
RECORD = struct.Struct(">8s8sQQHQ")


def newest_records(path):
    """Where the newest record of each oid is: (position, length)."""
    found = {}
    size = os.path.getsize(path)
    with open(path, "rb") as file:
        assert file.read(4) == b"FS30"
        pos = 4
        while pos < size:
            file.seek(pos)
            _, tlen, status, *lengths = TRANSACTION.unpack(file.read(TRANSACTION.size))
            assert status == b" "
            at, end = pos + TRANSACTION.size + sum(lengths), pos + tlen
            while at < end:
                file.seek(at)
                oid, _, _, _, _, plen = RECORD.unpack(file.read(RECORD.size))
                found[oid] = (at + RECORD.size, plen) if plen else None
                at += RECORD.size + (plen or 8)
            pos = end + 8
    return found


class ZBigFile(persistent.Persistent):
    def __setstate__(self, state):
        self.blksize, self.blktab = state


class ZData(persistent.Persistent):
    def __setstate__(self, state):
        assert isinstance(state, bytes)
        self.data = state


class ZBlk0(ZData):
    pass


class ZBlk1(persistent.Persistent):
    def __setstate__(self, state):
        self.chunktab = state


module = types.ModuleType("wendelin.bigfile.file_zodb")
for cls in (ZBigFile, ZData, ZBlk0, ZBlk1):
    cls.__module__ = module.__name__
    setattr(module, cls.__name__, cls)
for name in ("wendelin", "wendelin.bigfile"):
    sys.modules[name] = types.ModuleType(name)
sys.modules[module.__name__] = module


class Jar:
    def __init__(self, path):
        self.file = open(path, "rb")
        self.records = newest_records(path)
        self.cache = persistent.PickleCache(self, 10000, 1 << 26)
        self.classes = {}

    def unpickler(self, oid):
        pos, length = self.records[oid]
        self.file.seek(pos)
        unpickler = fastpickle.Unpickler(BytesIO(self.file.read(length)))
        unpickler.persistent_load = lambda reference: self.get(*reference)
        return unpickler

    def get(self, oid, cls):
        oid = bytes(oid)
        known = self.cache.get(oid)
        if known is None:
            known = cls.__new__(cls)
            self.cache.new_ghost(oid, known)
        assert type(known) is cls, (known, cls)
        return known

    def root(self):
        return self.get(bytes(8), self.unpickler(bytes(8)).load())

    def setstate(self, obj):
        unpickler = self.unpickler(obj._p_oid)
        assert unpickler.load() is type(obj)
        obj.__setstate__(unpickler.load())
        name = "%s.%s" % (type(obj).__module__, type(obj).__name__)
        self.classes[name] = self.classes.get(name, 0) + 1

    def readCurrent(self, obj):
        pass


def checked(tree):
    tree._check()
    check(tree)
    return tree


def block_bytes(block, blksize):
    if isinstance(block, ZBlk0):
        return block.data
    buffer = bytearray(blksize)
    end = 0
    for off, chunk in checked(block.chunktab).items():
        assert off >= end
        end = off + len(chunk.data)
        assert end <= blksize
        buffer[off:end] = chunk.data
    return bytes(buffer)


def contents(data, size):
    """The file's bytes, in pieces."""
    at = 0
    for blk, block in checked(data.blktab).items():
        start = blk * data.blksize
        if start >= size:
            break
        yield bytes(start - at)
        piece = block_bytes(block, data.blksize)[: size - start]
        yield piece
        at = start + len(piece)
    yield bytes(size - at)


def numbers(packed):
    """The numbers of an inode that docs/format.md, R30a, packs: mode uid gid nlink size rdev stored, then times."""
    value = shift = 0
    for byte in packed:
        value |= (byte & 0x7F) << shift
        shift += 7
        if byte < 0x80:
            yield value
            value = shift = 0


def contents_of(data, size):
    """The file's bytes, in pieces: of its object, or of the inode itself."""
    if isinstance(data, bytes):
        yield data[:size].ljust(size, b"\0")
    else:
        yield from contents(data, size)


def walk(inode, path, files):
    if "attr" in inode:
        mode, _, _, _, size, *_ = numbers(inode["attr"])
    else:
        mode, size = inode["mode"], inode["size"]
    if "entries" in inode:
        for name, child in checked(inode["entries"]).items():
            assert isinstance(name, bytes)
            walk(child, path + "/" + name.decode(), files)
    elif mode & 0o170000 == 0o100000:
        digest = hashlib.sha256()
        if "data" in inode:
            for piece in contents_of(inode["data"], size):
                digest.update(piece)
        else:
            digest.update(bytes(size))
        files[path] = [size, digest.hexdigest()]


jar = Jar(sys.argv[1])
superblock = jar.root()["zblkfs"]
files = {}
walk(superblock["root"], "", files)
checked(superblock["orphans"])
checked(superblock["tags"])
json.dump({"files": files, "classes": jar.classes}, sys.stdout)
