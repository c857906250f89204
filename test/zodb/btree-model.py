"""Does to a BTree what stdin says, with BTrees itself, and prints its records after each commit.

Reads JSON: {"family": "IO" | "LO" | "OO", "commits": [[[operation, key], ...], ...]}, operation "set" or "delete"; a key of
OO is text, to be taken as bytes. Prints JSON: for each commit {oid as hex: record as hex}; the tree has oid 1.
"""

import importlib
import io
import json
import sys

from zodbpickle import fastpickle

request = json.load(sys.stdin)
family = request["family"]
module = importlib.import_module("BTrees.%sBTree" % family)
tree = getattr(module, family + "BTree")()


class Jar:
    last = 0

    def register(self, obj):
        pass

    def readCurrent(self, obj):
        pass

    def setstate(self, obj):
        raise AssertionError("nothing is ever a ghost here")

    def adopt(self, obj):
        if obj._p_oid is None:
            self.last += 1
            obj._p_jar, obj._p_oid = self, self.last.to_bytes(8, "big")
        return obj._p_oid


jar = Jar()


def commit():
    """Every record of the tree, as ZODB writes them: what is referred to and has no oid gets one."""
    jar.adopt(tree)
    records, left = {}, [tree]
    while left:
        obj = left.pop()
        if obj._p_oid in records:
            continue

        def persistent_id(value):
            if not hasattr(value, "_p_oid") or isinstance(value, type):
                return None
            left.append(value)
            return jar.adopt(value), type(value)

        file = io.BytesIO()
        pickler = fastpickle.Pickler(file, 3)
        pickler.persistent_id = persistent_id
        pickler.dump(type(obj))
        pickler.dump(obj.__getstate__())
        records[obj._p_oid] = file.getvalue()
    return {oid.hex(): record.hex() for oid, record in records.items()}


answers = []
for step, operations in enumerate(request["commits"]):
    for operation, key in operations:
        if isinstance(key, str):
            key = key.encode()
        if operation == "set":
            tree[key] = step
        else:
            tree.pop(key, None)
    tree._check()
    answers.append(commit())
json.dump(answers, sys.stdout)
