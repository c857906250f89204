/** What can be fuzzed, each kind in a module that is loaded when it is needed. */
import type { Random } from '../stress/random.ts'

export interface Fuzzer {
  /** Generates an input and uses it. @throws what must not happen. */
  round(random: Random): Promise<void>
  close?(): Promise<void>
  /** Uses of the input in a round, each of which may take its time; 1 if absent. */
  readonly steps?: number
}

/** `directory`: for whatever the fuzzer needs; removed afterwards. */
export const KINDS: Readonly<Record<string, (directory: string) => Promise<Fuzzer>>> = {
  database: async directory => await (await import('./database.ts')).databaseFuzzer(directory),
  filestorage: async directory => (await import('./filestorage.ts')).fileStorageFuzzer(directory),
  relstorage: async directory => (await import('./relstorage.ts')).relStorageFuzzer(directory),
  control: async directory => await (await import('./control.ts')).controlFuzzer(directory),
  stream: async () => await (await import('./stream.ts')).streamFuzzer(),
  fuse: async () => await (await import('./fuse.ts')).fuseFuzzer(),
}
