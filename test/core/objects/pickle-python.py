"""Reads a JSON list of [class name, described state, record as hex] from stdin. For each one it builds the state,
writes the record as ZODB's ObjectWriter does and reads the record that was handed in. Prints a JSON list of
[the record that Python writes, as hex; whether what it reads is the state]."""

import io
import json
import struct
import sys
import types

from zodbpickle import fastpickle


class Ref:
    def __init__(self, oid, cls):
        self.oid, self.cls = oid, cls

    def __eq__(self, other):
        return isinstance(other, Ref) and (self.oid, self.cls) == (other.oid, other.cls)

    def __hash__(self):
        return hash(self.oid)


classes, oids, texts = {}, {}, {}


def class_of(name):
    if name not in classes:
        module, _, short = name.rpartition(".")
        parts = module.split(".")
        for i in range(len(parts)):
            path = ".".join(parts[: i + 1])
            sys.modules.setdefault(path, types.ModuleType(path))
        classes[name] = type(short, (), {"__module__": module})
        setattr(sys.modules[module], short, classes[name])
    return classes[name]


def build(described):
    kind, value = described
    if kind == "int":
        return int(value)
    if kind == "float":
        return struct.unpack(">d", bytes.fromhex(value))[0]
    if kind == "str":
        return texts.setdefault(value, bytes.fromhex(value).decode("utf-8", "surrogatepass"))
    if kind == "bytes":
        return bytes.fromhex(value)
    if kind == "tuple":
        return tuple([build(item) for item in value])
    if kind == "list":
        return [build(item) for item in value]
    if kind == "dict":
        return {build(key): build(item) for key, item in value}
    if kind == "class":
        return class_of(value)
    if kind == "ref":
        oid, name = value
        return Ref(oids.setdefault(oid, bytes.fromhex(oid)), class_of(name) if name else None)
    return value


def persistent_id(value):
    if not isinstance(value, Ref):
        return None
    return value.oid if value.cls is None else (value.oid, value.cls)


def persistent_load(pid):
    return Ref(*pid) if isinstance(pid, tuple) else Ref(pid, None)


def dump(name, state):
    file = io.BytesIO()
    pickler = fastpickle.Pickler(file, 3)
    pickler.persistent_id = persistent_id
    pickler.dump(class_of(name))
    pickler.dump(state)
    return file.getvalue()


def load(record):
    unpickler = fastpickle.Unpickler(io.BytesIO(record))
    unpickler.persistent_load = persistent_load
    return unpickler.load(), unpickler.load()


def same(a, b):
    """Equal, with the same types and the same order in dictionaries; NaN equals itself."""
    if type(a) is not type(b):
        return False
    if isinstance(a, (tuple, list)):
        return len(a) == len(b) and all(map(same, a, b))
    if isinstance(a, dict):
        return same(list(a.items()), list(b.items()))
    if isinstance(a, float):
        return struct.pack(">d", a) == struct.pack(">d", b)
    return a == b


answers = []
for name, described, record in json.load(sys.stdin):
    state = build(described)
    written = dump(name, state).hex()
    cls, read = load(bytes.fromhex(record))
    answers.append([written, cls is class_of(name) and same(read, state)])
json.dump(answers, sys.stdout)
