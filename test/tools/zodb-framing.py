"""Walks a FileStorage as ZODB does when it has no index, and prints what it finds as JSON.

Independent of zblkfs: only the framing is looked at. Fails at the first thing that ZODB would complain of.
"""

import hashlib
import json
import struct
import sys

TRANSACTION = struct.Struct(">8sQcHHH")
RECORD = struct.Struct(">8s8sQQHQ")


def walk(data):
    assert data[:4] == b"FS30", data[:4]
    pos, last, newest = 4, b"", {}
    while pos < len(data):
        start = pos
        tid, tlen, status, user, description, extension = TRANSACTION.unpack_from(data, pos)
        assert tid > last, "the tids do not ascend at %d" % pos
        assert status == b" ", status
        last, end = tid, pos + tlen
        pos += TRANSACTION.size + user + description + extension
        texts = data[start + TRANSACTION.size : pos]
        records = []
        while pos < end:
            oid, serial, prev, tpos, vlen, plen = RECORD.unpack_from(data, pos)
            assert (serial, tpos, vlen) == (tid, start, 0), "the header at %d" % pos
            assert prev == newest.get(oid, 0), "the previous pointer at %d" % pos
            newest[oid] = pos
            pos += RECORD.size
            state = data[pos : pos + plen]
            if not plen:
                assert data[pos : pos + 8] == bytes(8), "a back pointer at %d" % pos
            records.append([oid.hex(), hashlib.sha256(state).hexdigest() if plen else None])
            pos += plen or 8
        assert pos == end, "the transaction at %d" % start
        assert struct.unpack_from(">Q", data, pos) == (tlen,), "the second length at %d" % pos
        pos += 8
        yield {
            "tid": tid.hex(),
            "user": texts[:user].decode("utf-8", "surrogateescape"),
            "description": texts[user : user + description].decode("utf-8", "surrogateescape"),
            "extension": texts[user + description :].hex(),
            "records": records,
        }


with open(sys.argv[1], "rb") as file:
    print(json.dumps(list(walk(file.read()))))
