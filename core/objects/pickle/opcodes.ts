/**
 * The opcodes of pickle protocols 1 to 3: the binary ones, and the few textual ones that protocol 1 still uses.
 * Source: the comments of Python's Lib/pickletools.py.
 */
export const MARK = 0x28
export const EMPTY_TUPLE = 0x29
export const STOP = 0x2e
export const POP = 0x30
export const POP_MARK = 0x31
export const DUP = 0x32
export const BINBYTES = 0x42
export const SHORT_BINBYTES = 0x43
export const BINFLOAT = 0x47
export const INT = 0x49
export const BININT = 0x4a
export const BININT1 = 0x4b
export const LONG = 0x4c
export const BININT2 = 0x4d
export const NONE = 0x4e
export const BINPERSID = 0x51
export const REDUCE = 0x52
export const BINSTRING = 0x54
export const SHORT_BINSTRING = 0x55
export const BINUNICODE = 0x58
export const EMPTY_LIST = 0x5d
export const APPEND = 0x61
export const BUILD = 0x62
export const GLOBAL = 0x63
export const APPENDS = 0x65
export const BINGET = 0x68
export const LONG_BINGET = 0x6a
export const OBJ = 0x6f
export const BINPUT = 0x71
export const LONG_BINPUT = 0x72
export const SETITEM = 0x73
export const TUPLE = 0x74
export const SETITEMS = 0x75
export const EMPTY_DICT = 0x7d
export const PROTO = 0x80
export const NEWOBJ = 0x81
export const TUPLE1 = 0x85
export const TUPLE2 = 0x86
export const TUPLE3 = 0x87
export const NEWTRUE = 0x88
export const NEWFALSE = 0x89
export const LONG1 = 0x8a
export const LONG4 = 0x8b
