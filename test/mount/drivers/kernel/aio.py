"""Asynchronous writes by io_submit(2), which Python's library does not have."""
import ctypes
import mmap
import os
import platform

IOCB_CMD_PWRITE = 1
IO_SETUP, IO_SUBMIT, IO_GETEVENTS = (206, 209, 208) if platform.machine() == "x86_64" else (0, 2, 4)
IO_EVENT_BYTES = 32
EVENTS_MAX = 64

syscall = ctypes.CDLL(None, use_errno=True).syscall


class Iocb(ctypes.Structure):
    """struct iocb of linux/aio_abi.h."""

    _fields_ = [
        ("data", ctypes.c_uint64),
        ("key", ctypes.c_uint32),
        ("rw_flags", ctypes.c_int32),
        ("opcode", ctypes.c_uint16),
        ("priority", ctypes.c_int16),
        ("fd", ctypes.c_uint32),
        ("buffer", ctypes.c_uint64),
        ("length", ctypes.c_uint64),
        ("offset", ctypes.c_int64),
        ("reserved", ctypes.c_uint64),
        ("flags", ctypes.c_uint32),
        ("result_fd", ctypes.c_uint32),
    ]


class IoEvent(ctypes.Structure):
    """struct io_event of linux/aio_abi.h."""

    _fields_ = [
        ("data", ctypes.c_uint64),
        ("obj", ctypes.c_uint64),
        ("res", ctypes.c_int64),
        ("res2", ctypes.c_int64),
    ]


def check(result):
    if result < 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
    return result


def aligned(length):
    """A buffer for direct writes, and its address."""
    buffer = mmap.mmap(-1, length)
    return buffer, ctypes.addressof(ctypes.c_char.from_buffer(buffer))


class Requests:
    """Writes that run at the same time."""

    def __init__(self):
        self.context = ctypes.c_uint64(0)
        check(syscall(IO_SETUP, EVENTS_MAX, ctypes.byref(self.context)))
        self.events = (IoEvent * EVENTS_MAX)()

    def write(self, fd, writes):
        """Submits `writes`, of (address, length, offset); returns when all have completed."""
        requests = [
            Iocb(opcode=IOCB_CMD_PWRITE, fd=fd, buffer=address, length=length, offset=offset)
            for address, length, offset in writes
        ]
        count = len(requests)
        pointers = (ctypes.c_uint64 * count)(*[ctypes.addressof(request) for request in requests])
        submitted = completed = 0
        while submitted < count:
            rest = ctypes.byref(pointers, 8 * submitted)
            submitted += check(syscall(IO_SUBMIT, self.context, ctypes.c_long(count - submitted), rest))
        while completed < count:
            most = ctypes.c_long(count - completed)
            done = check(syscall(IO_GETEVENTS, self.context, ctypes.c_long(1), most, self.events, None))
            for event in self.events[:done]:
                if event.res < 0:
                    raise OSError(-event.res, os.strerror(-event.res))
            completed += done
