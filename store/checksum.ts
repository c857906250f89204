/** XXH64, the checksum of everything that the format stores: rows, units of bulk bytes, headers, intents. */
import xxhash from 'xxhash-wasm'

const hash = await xxhash()

/** The XXH64 of some bytes. `seed` ties them to the place where they belong. */
export const xxh64 = (bytes: Uint8Array, seed = 0n): bigint => hash.h64Raw(bytes, seed)

/** The low 32 bits of the XXH64, for rows: SQLite stores a small integer in fewer bytes. */
export const shortSum = (bytes: Uint8Array): number => Number(BigInt.asUintN(32, hash.h64Raw(bytes)))
