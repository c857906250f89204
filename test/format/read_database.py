"""
Reads a zblkfs database by docs/format.md alone: Python's standard library and OpenSSL's, and none of zblkfs's code.

usage: read_database.py DATABASE [TID ...]

Prints JSON: `moments`, the whole tree at each given transaction (at every kept one where none is given), and
`problems`, every rule of docs/format.md that the database breaks, by its number. The secret of an encrypted database is in
the environment, as hexadecimal digits: ZBLKFS_TEST_SECRET. OpenSSL's library decrypts; Python derives the keys. Bytes of names, targets and attributes are
latin1 text; a file's content is its SHA-256. It is written to be read: it is slow, and holds a file in memory.
"""

import ctypes
import hashlib
import hmac
import io
import itertools
import json
import os
import pickle
import re
import sqlite3
import stat
import struct
import sys
import zlib
from pathlib import Path

UNIT = 4096
FRAME = 4 * UNIT
PART = 2 * UNIT
GROUP = 512 * UNIT
SEGMENT = 1 << 30
MASK = (1 << 64) - 1
P1, P2, P3 = 0x9E3779B185EBCA87, 0xC2B2AE3D27D4EB4F, 0x165667B19E3779F9
P4, P5 = 0x85EBCA77C2B2AE63, 0x27D4EB2F165667C5


class Damage(Exception):
    """A rule is broken."""


def rotate(value, bits):
    return ((value << bits) | (value >> (64 - bits))) & MASK


def lane(accumulator, word):
    return rotate((accumulator + word * P2) & MASK, 31) * P1 & MASK


def xxh64(data, seed=0):
    """XXH64, see the specification of xxHash."""
    at = 0
    if len(data) >= 32:
        lanes = [(seed + P1 + P2) & MASK, (seed + P2) & MASK, seed, (seed - P1) & MASK]
        at = len(data) // 32 * 32
        for words in struct.iter_unpack("<4Q", data[:at]):
            lanes = [lane(accumulator, word) for accumulator, word in zip(lanes, words)]
        h = sum(rotate(accumulator, bits) for accumulator, bits in zip(lanes, (1, 7, 12, 18))) & MASK
        for accumulator in lanes:
            h = ((h ^ lane(0, accumulator)) * P1 + P4) & MASK
    else:
        h = (seed + P5) & MASK
    h = (h + len(data)) & MASK
    while at + 8 <= len(data):
        h = (rotate(h ^ lane(0, int.from_bytes(data[at : at + 8], "little")), 27) * P1 + P4) & MASK
        at += 8
    if at + 4 <= len(data):
        h = (rotate(h ^ (int.from_bytes(data[at : at + 4], "little") * P1 & MASK), 23) * P2 + P3) & MASK
        at += 4
    for byte in data[at:]:
        h = rotate(h ^ (byte * P5 & MASK), 11) * P1 & MASK
    h = (h ^ (h >> 33)) * P2 & MASK
    h = (h ^ (h >> 29)) * P3 & MASK
    return h ^ (h >> 32)


class Ref:
    """A reference to an object: its oid and the class that it is said to have."""

    def __init__(self, pid):
        oid, self.class_name = pid if isinstance(pid, tuple) else (pid, "")
        self.oid = int.from_bytes(oid, "big")


class RecordUnpickler(pickle.Unpickler):
    """Classes become their names; nothing is executed."""

    def find_class(self, module, name):
        return f"{module}.{name}"

    def persistent_load(self, pid):
        return Ref(pid)


def decode(record):
    """R22, R24: a class and a state, two pickles that share one memo."""
    unpickler = RecordUnpickler(io.BytesIO(record))
    class_name = unpickler.load()
    return class_name, unpickler.load()


def hkdf(key, salt, label):
    """HKDF-SHA-256 (RFC 5869), 32 bytes."""
    return hmac.digest(hmac.digest(salt, key, "sha256"), label.encode() + b"\x01", "sha256")


def aes_256_gcm(key, nonce, aad, ciphertext, tag):
    """The plain bytes; None if the tag differs."""
    crypto = ctypes.CDLL("libcrypto.so.3")
    for name in ("EVP_CIPHER_CTX_new", "EVP_aes_256_gcm"):
        getattr(crypto, name).restype = ctypes.c_void_p
    context, length = ctypes.c_void_p(crypto.EVP_CIPHER_CTX_new()), ctypes.c_int()
    cipher = ctypes.c_void_p(crypto.EVP_aes_256_gcm())
    plain = ctypes.create_string_buffer(len(ciphertext) + 1)
    crypto.EVP_DecryptInit_ex(context, cipher, None, key, nonce)
    crypto.EVP_DecryptUpdate(context, None, ctypes.byref(length), aad, len(aad))
    crypto.EVP_DecryptUpdate(context, plain, ctypes.byref(length), ciphertext, len(ciphertext))
    crypto.EVP_CIPHER_CTX_ctrl(context, 0x11, 16, tag)
    is_right = crypto.EVP_DecryptFinal_ex(context, ctypes.create_string_buffer(16), ctypes.byref(length)) == 1
    crypto.EVP_CIPHER_CTX_free(context)
    return plain.raw[: len(ciphertext)] if is_right else None


class Keys:
    """R50 to R53: the master key, and what it seals."""

    def __init__(self, note, secret, epochs):
        note = json.loads(note)
        self.id = bytes.fromhex(note["id"])
        self.epochs = epochs
        self.master = next(filter(None, (self.open_slot(slot, secret) for slot in note["slots"])), None)
        rule("R50", note["cipher"] == "aes-256-gcm" and self.master is not None, "the secret opens no slot")

    def open_slot(self, slot, secret):
        salt = bytes.fromhex(slot["salt"])
        if slot["kdf"] == "hkdf-sha256":
            wrapping = hkdf(secret, salt, "zblkfs key file")
        else:
            n, r, p = 2 ** slot["log2n"], slot["r"], slot["p"]
            wrapping = hashlib.scrypt(secret, salt=salt, n=n, r=r, p=p, maxmem=256 * r * n + 2**20, dklen=32)
        return self.open_with(wrapping, f"zblkfs key {self.id.hex()}".encode(), bytes.fromhex(slot["key"]))

    @staticmethod
    def open_with(key, aad, sealed):
        return aes_256_gcm(key, sealed[:12], aad, sealed[12:-16], sealed[-16:])

    def open(self, label, salt, aad, sealed):
        return self.open_with(hkdf(self.master, salt, f"zblkfs {label}"), self.id + aad, sealed)

    def epoch(self, pos):
        found = [salt for start, salt in self.epochs if pos is not None and start <= pos]
        return found[-1] if found else bytes(16)

    def row(self, tid, aad, sealed):
        return self.open("row", (tid >> 38).to_bytes(8, "little"), aad, sealed)

    def frame(self, pos, header, body):
        return self.open("frame", self.epoch(pos) + (pos // SEGMENT).to_bytes(4, "little"), header, body)


def decode_frame(stored, pos, keys=None):
    """R17b, R17c: the units of a frame."""
    total, found, method, units, element, sealed, length = struct.unpack("<QQBBBBI", stored[:24])
    body = stored[24 : 24 + length]
    is_right = len(body) == length and xxh64(stored[8 : 24 + length]) == total
    rule("R14", is_right and found == pos, f"the frame at {pos} of the log")
    rule("R52", (sealed != 0) == (keys is not None), f"the frame at {pos} of the log")
    if sealed == 2:
        sealed_part = PART + 28
        parts = [
            keys.frame(pos + i * PART, struct.pack("<Q", pos + i * PART) + stored[16:24], body[at : at + sealed_part])
            for i, at in enumerate(range(0, len(body), sealed_part))
        ]
        rule("R52", None not in parts and method == 0, f"the frame at {pos} of the log")
        body = b"".join(parts)
    elif sealed == 1:
        body = keys.frame(pos, stored[8:24], body)
        rule("R52", body is not None, f"the frame at {pos} of the log")
    data = {0: lambda plain, _: plain, 1: expand, 2: expand_lz4}[method](body, units * UNIT)
    rule("R17b", len(data) == units * UNIT and 1 <= units <= 4, f"the frame at {pos} of the log")
    if element > 0:
        data = bytes(data[i % element * (len(data) // element) + i // element] for i in range(len(data)))
    return data


def expand(body, length):
    """Zstandard, through the C library: Python has it from 3.14 on."""
    library = ctypes.CDLL("libzstd.so.1")
    library.ZSTD_decompress.restype = ctypes.c_size_t
    library.ZSTD_decompress.argtypes = (ctypes.c_char_p, ctypes.c_size_t, ctypes.c_char_p, ctypes.c_size_t)
    data = ctypes.create_string_buffer(length)
    rule("R17b", library.ZSTD_decompress(data, length, body, len(body)) == length, "a compressed frame")
    return data.raw


def expand_lz4(body, length):
    """One block of LZ4."""
    data, at = bytearray(), 0

    def continued(count):
        nonlocal at
        while count >= 15 and (more := body[at]) == 255:
            count, at = count + more, at + 1
        if count >= 15:
            count, at = count + body[at], at + 1
        return count

    while True:
        token, at = body[at], at + 1
        count = continued(token >> 4)
        data += body[at : at + count]
        at += count
        if at >= len(body):
            break
        distance, at = int.from_bytes(body[at : at + 2], "little"), at + 2
        rule("R17b", 0 < distance <= len(data), "a compressed frame")
        for _ in range(continued(token & 15) + 4):
            data.append(data[-distance])
    return bytes(data)


class Database:
    def __init__(self, path):
        self.path = path
        self.sql = sqlite3.connect(f"file:{path}?mode=ro", uri=True)
        self.sql.text_factory = lambda text: text.decode("utf-8", "surrogateescape")
        self.checked_units = set()
        self.files = {}
        rule("R1", self.sql.execute("PRAGMA application_id").fetchone()[0] == 0x7A626C6B, "not a database")
        version = self.sql.execute("PRAGMA user_version").fetchone()[0]
        self.meta = dict(self.sql.execute("SELECT name, value FROM meta"))
        self.keys = None
        rule("R2", version in ((5,) if "encryption" in self.meta else (2, 3, 4)), "another version")
        if "encryption" in self.meta:
            names = sorted(name for name in self.meta if name.startswith("epoch "))
            epochs = [(int(name[6:], 16), bytes.fromhex(self.meta[name])) for name in names]
            self.keys = Keys(self.meta["encryption"], bytes.fromhex(os.environ["ZBLKFS_TEST_SECRET"]), epochs)
        self.id = self.meta.get("database id", "")
        is_id = re.fullmatch("[0-9a-f]{32}", self.id) and f"{zlib.crc32(self.id[:24].encode()):08x}" == self.id[24:]
        rule("R3", is_id, "the id of the database is damaged")

    def transactions(self):
        """R5: every kept transaction, the sums of all checked."""
        kept = [int(tid, 16) for tid in self.meta.get("kept moments", "0" * 16).split(" ")]
        totals = [f"all_{name}" for name in ("stored", "objects", "revisions", "row_bytes", "bulk_bytes")]
        totals += [f"past_{name}" for name in ("revisions", "row_bytes", "bulk_bytes")]
        columns = f"tid, next_oid, log_end, stored, {', '.join(totals)}, user, description, extension, sum"
        rows = self.sql.execute(f"SELECT {columns} FROM txn ORDER BY tid")
        for *numbers, user, description, extension, total in rows:
            characters = len(user.encode("utf-16-le", "surrogatepass")) // 2
            fields = "\0".join(str(field) for field in (*numbers, characters, user, description))
            is_right = xxh64(fields.encode("utf-8", "surrogateescape") + extension) & 0xFFFFFFFF == total
            rule("R5", is_right, f"the sum of transaction {numbers[0]:016x}")
            if self.keys is not None:
                opened = self.keys.row(numbers[0], struct.pack(">q", numbers[0]), extension)
                rule("R51", opened is not None, f"the texts of transaction {numbers[0]:016x}")
            if numbers[0] >= kept[0] or numbers[0] in kept:
                yield numbers[0]

    def check_moment(self, at):
        """R10: the row of the transaction that a moment ends with is there."""
        newest = "SELECT max(tid) FROM {} WHERE tid <= ?"
        transaction, revision = (
            self.sql.execute(newest.format(table), (at,)).fetchone()[0] or 0 for table in ("txn", "revision")
        )
        rule("R10", revision <= transaction, f"transaction {revision:016x} has no row")

    def record(self, oid, at):
        """R8: an object's newest state at a moment; None where it does not exist then."""
        row = self.sql.execute(
            "SELECT tid, sum, head, pos, len, tail FROM revision WHERE oid = ? AND tid <= ? ORDER BY tid DESC LIMIT 1",
            (oid, at),
        ).fetchone()
        if row is None:
            return None
        tid, total, head, pos, length, tail = row
        key = struct.pack(
            ">dqdIi", oid, tid, -1 if pos is None else pos, length, -1 if head is None else len(head)
        )
        rule("R7", xxh64(key + (head or b"") + (tail or b"")) & 0xFFFFFFFF == total, f"the row of object {oid:x}")
        if head is None:
            return None
        if self.keys is not None:
            sealed = head[:-16] + (tail or b"") + head[-16:]
            plain = self.keys.row(tid, key + self.keys.epoch(pos), sealed)
            rule("R51", plain is not None, f"the row of object {oid:x}")
            head, tail = plain[: len(head) - 28], plain[len(head) - 28 :]
        return head + (b"" if pos is None else self.log(pos, length)) + (tail or b"")

    def log(self, pos, length):
        """R14: bytes of the log, each unit that is touched compared with its checksum."""
        first = pos - pos % UNIT
        units = b"".join(self.unit(at) for at in range(first, pos + length, UNIT))
        return units[pos - first : pos - first + length]

    def unit(self, pos):
        file, version = self.segment(pos // SEGMENT)
        return self.unit_of_frame(file, pos) if version == 2 else self.unit_of_group(file, pos)

    def unit_of_frame(self, file, pos):
        """R17a: a unit of the frame that has it."""
        start = pos - pos % FRAME
        file.seek(UNIT + pos % SEGMENT // FRAME * 8)
        offset, length, _ = struct.unpack("<IHH", file.read(8))
        rule("R17a", offset != 0, f"the frame at {start} of the log")
        file.seek(offset)
        units = decode_frame(file.read(length), start, self.keys)
        at = pos - start
        rule("R17a", at + UNIT <= len(units), f"the unit at {pos} of the log")
        return units[at : at + UNIT]

    def unit_of_group(self, file, pos):
        rule("R52", self.keys is None, f"the unit at {pos} of the log")
        group = UNIT + pos % SEGMENT // GROUP * (UNIT + GROUP)
        file.seek(group + UNIT + pos % GROUP)
        data = file.read(UNIT)
        if pos not in self.checked_units:
            file.seek(group + pos % GROUP // UNIT * 8)
            rule("R14", file.read(8) == xxh64(data, pos).to_bytes(8, "little"), f"the unit at {pos} of the log")
            self.checked_units.add(pos)
        return data

    def segment(self, index):
        if index not in self.files:
            file = open(f"{self.path}-log/{index:08}", "rb")
            found = file.read(UNIT)
            version = int.from_bytes(found[16:20], "little")
            header = struct.pack("<16sIIQ16s", b"zblkfs log", version, 0, index, bytes.fromhex(self.id))
            header += xxh64(header).to_bytes(8, "little") + (found[56:72] if version == 2 else b"")
            is_right = version in (1, 2) and found == header.ljust(UNIT, b"\0")
            rule("R12", is_right, f"the header of segment {index}")
            self.files[index] = file, version
        return self.files[index]

    def waiting_changes(self, last):
        """R18: the changes that were synced after the last transaction and are in none yet."""
        path = Path(f"{self.path}-log/intents")
        log = path.read_bytes() if path.exists() else b""
        found, at = [], 0
        while at + 64 <= len(log):
            total, base, before, nonce, place, earlier, length, zero, id_ = struct.unpack_from("<QQQQIIII16s", log, at)
            entry = log[at : at + 64 + length]
            is_whole = last in (base, before) and id_.hex() == self.id and len(entry) == 64 + length
            if is_whole and xxh64(entry[8:]) == total:
                stored = len(entry)
                if self.keys is not None:
                    plain = self.keys.open("intent", nonce.to_bytes(8, "little"), entry[8:64], entry[64:])
                    rule("R53", plain is not None, "an entry of the intent log")
                    entry = entry[:64] + plain
                rule("R18", zero == 0 and entry[64:72] == b"zblkop 1", "an entry is of another version")
                found.append((base, nonce, place, earlier, entry))
                at += -(-stored // UNIT) * UNIT
            else:
                at += UNIT
        entries = in_order([one for one in found if one[0] == last])
        entries += in_order([one for one in found if one[0] != last and one[3] == len(entries)])
        rule("R19", len(entries) == len(found), "the intent log is damaged")
        rule("R18", len({nonce for _, nonce, *_ in entries}) <= 1, "entries of several processes are valid")
        changes = []
        for *_, entry in entries:
            offset = 72
            while offset < len(entry):
                length, kind, numbers, strings, zero, time = struct.unpack_from("<IBBBBq", entry, offset)
                rule("R20", 1 <= kind <= 10 and zero == 0 and offset + length <= len(entry), f"a change of kind {kind}")
                fields = struct.unpack_from(f"<{numbers}q", entry, offset + 16)
                lengths = struct.unpack_from(f"<{strings}I", entry, offset + 16 + 8 * numbers)
                start, texts = offset + 16 + 8 * numbers + 4 * strings, []
                for size in lengths:
                    texts.append(entry[start : start + size].hex())
                    start += size
                rule("R20", start == offset + length, f"a change of kind {kind} has another length")
                changes.append({"kind": kind, "time": time, "numbers": fields, "strings": texts})
                offset += length
        return changes


def in_order(entries):
    """R18: the entries with the places 0, 1, 2 ... up to the first that is missing."""
    places = {place: entry for entry in entries for place in [entry[2]]}
    return [places[place] for place in itertools.takewhile(places.__contains__, itertools.count())]


def unpacked(data):
    """R30a: the mapping of an inode with an entry for each of its numbers."""
    numbers, value, shift = [], 0, 0
    for byte in data["attr"]:
        value |= (byte & 0x7F) << shift
        shift += 7
        if byte < 0x80:
            numbers.append(value)
            value = shift = 0
    rule("R30a", shift == 0, "the packed attributes end within a number")
    numbers = iter(numbers)
    result = {key: value for key, value in data.items() if key != "attr"}
    for key in ("mode", "uid", "gid", "nlink", "size", "rdev", "stored"):
        result[key] = next(numbers)
    zagzig = lambda code: -(code + 1) // 2 if code % 2 else code // 2
    seconds = zagzig(next(numbers))
    result["mtime"] = seconds * 10**9 + next(numbers)
    for key in ("ctime", "atime", "birthtime"):
        code = next(numbers)
        result[key] = (seconds + zagzig(code - 1)) * 10**9 + next(numbers) if code else result["mtime"]
    rule("R30a", next(numbers, None) is None, "there are more packed attributes")
    return result


class Moment:
    """The objects as of one transaction."""

    def __init__(self, database, at):
        self.database, self.at = database, at

    def state(self, oid, *class_names):
        record = self.database.record(oid, self.at)
        rule("R23", record is not None, f"object {oid:x} is missing")
        class_name, state = decode(record)
        rule("R23", class_name in class_names, f"object {oid:x} is a {class_name}")
        return state

    def mapping(self, oid):
        data = self.state(oid, "persistent.mapping.PersistentMapping")["data"]
        return unpacked(data) if "attr" in data else data

    def items(self, oid, kind):
        """R25, R26: the entries of a BTree, in order."""
        state = self.state(oid, f"BTrees.{kind}BTree.{kind}BTree")
        if state is None:
            return
        data = state[0]
        if isinstance(data[0], tuple):
            yield from pairs(data[0][0])
            return
        for child in data[::2]:
            if child.class_name.endswith("Bucket"):
                yield from pairs(self.state(child.oid, f"BTrees.{kind}BTree.{kind}Bucket")[0])
            else:
                yield from self.items(child.oid, kind)

    def content(self, inode):
        """R32 to R34: all bytes of a regular file."""
        content = bytearray(inode["size"])
        if "data" not in inode:
            return content
        if isinstance(inode["data"], bytes):
            rule("R32", len(inode["data"]) <= len(content), "inline data is beyond the end of the file")
            content[: len(inode["data"])] = inode["data"]
            return content
        module = "wendelin.bigfile.file_zodb"
        blksize, blktab = self.state(inode["data"].oid, f"{module}.ZBigFile")
        for number, block in self.items(blktab.oid, "LO"):
            state = self.state(block.oid, f"{module}.ZBlk0", f"{module}.ZBlk1")
            chunks = [(0, state)] if isinstance(state, bytes) else self.chunks(state, f"{module}.ZData")
            for off, data in chunks:
                rule("R33", off + len(data) <= blksize, f"block {block.oid:x} is longer than {blksize}")
                start = number * blksize + off
                part = data[: max(0, len(content) - start)]
                content[start : start + len(part)] = part
        return content

    def chunks(self, chunktab, class_name):
        return [(off, self.state(chunk.oid, class_name)) for off, chunk in self.items(chunktab.oid, "IO")]

    def tree(self):
        superblock = self.mapping(self.mapping(0)["zblkfs"].oid)
        rule("R28", superblock["version"] == 1, "another version of the filesystem")
        found, waiting = {}, [("", superblock["root"].oid)]
        while waiting:
            path, oid = waiting.pop()
            try:
                inode = self.mapping(oid)
                found[path] = self.attributes(oid, inode)
                if stat.S_ISDIR(inode["mode"]):
                    for name, child in self.items(inode["entries"].oid, "OO"):
                        waiting.append((f"{path}/{name.decode('latin1')}", child.oid))
            except Damage as damage:
                problems.append(f"{damage} (at {self.at:016x}, of /{path[1:]})")
        return found

    def attributes(self, oid, inode):
        shown = {key: str(inode[key]) for key in ("mtime", "ctime", "atime", "birthtime")}
        shown |= {key: inode[key] for key in ("mode", "uid", "gid", "nlink", "rdev", "size")}
        shown["ino"] = oid
        xattrs = inode.get("xattrs", {})
        shown["xattrs"] = {name.decode("latin1"): value.hex() for name, value in sorted(xattrs.items())}
        if stat.S_ISLNK(inode["mode"]):
            shown["target"] = inode["target"].decode("latin1")
            shown["size"] = len(inode["target"])
        if stat.S_ISREG(inode["mode"]):
            shown["sha256"] = hashlib.sha256(self.content(inode)).hexdigest()
        return shown


def pairs(entries):
    return zip(entries[::2], entries[1::2])


def rule(number, holds, what):
    if not holds:
        raise Damage(f"{number}: {what}")


UNREADABLE = (
    *(AttributeError, LookupError, OSError, TypeError, ValueError),
    *(pickle.UnpicklingError, sqlite3.Error, struct.error),
)
problems = []


def main(path, *wanted):
    answer = {"moments": {}, "waiting": [], "problems": problems}
    try:
        database = Database(path)
        kept = list(database.transactions())
        for at in [int(tid, 16) for tid in wanted] or kept:
            rule("R9", at in kept, f"{at:016x} is not a kept moment")
            database.check_moment(at)
            answer["moments"][f"{at:016x}"] = Moment(database, at).tree()
        answer["waiting"] = database.waiting_changes(max(kept, default=0))
    except Damage as damage:
        problems.append(str(damage))
    except UNREADABLE as error:
        problems.append(f"damaged beyond the rules: {error!r}")
    print(json.dumps(answer))


main(*sys.argv[1:])
