"""Storage libraries in a directory: storage.py lmdb|bdb|h5py DIR COUNT. Prints the seconds that the work took."""

import os
import sys
import time

PUTS = 500
VALUE = b"v" * 100
STRIDE = 16


def lmdb_transactions(directory, count):
    """Transactions of 500 puts each."""
    import lmdb

    with lmdb.open(os.path.join(directory, "lmdb"), map_size=1 << 30) as env:
        start = time.monotonic()
        for number in range(count):
            with env.begin(write=True) as transaction:
                for put in range(PUTS):
                    transaction.put(b"%016d" % ((number * PUTS + put) * 7919 % (count * PUTS)), VALUE)
        return time.monotonic() - start


def bdb_transactions(directory, count):
    """Transactions of one put each."""
    from bsddb3 import db

    home = os.path.join(directory, "bdb")
    os.mkdir(home)
    env = db.DBEnv()
    env.open(home, db.DB_CREATE | db.DB_INIT_MPOOL | db.DB_INIT_TXN | db.DB_INIT_LOG | db.DB_INIT_LOCK)
    table = db.DB(env)
    table.open("table", dbtype=db.DB_BTREE, flags=db.DB_CREATE | db.DB_AUTO_COMMIT)
    start = time.monotonic()
    for number in range(count):
        transaction = env.txn_begin()
        table.put(b"%016d" % (number * 7919 % count), VALUE, txn=transaction)
        transaction.commit()
    seconds = time.monotonic() - start
    table.close()
    env.close()
    return seconds


def h5py_writes(directory, count):
    """Writes of 4 bytes each, 64 bytes apart."""
    import h5py

    with h5py.File(os.path.join(directory, "array.h5"), "w") as file:
        data = file.create_dataset("data", (count * STRIDE,), dtype="f4")
        start = time.monotonic()
        for index in range(count):
            data[index * STRIDE] = index
        file.flush()
        return time.monotonic() - start


WORK = {"lmdb": lmdb_transactions, "bdb": bdb_transactions, "h5py": h5py_writes}

print(WORK[sys.argv[1]](sys.argv[2], int(sys.argv[3])))
