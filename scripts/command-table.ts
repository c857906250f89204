/** The subcommands of `zblkfs`, each in a module that is loaded when the subcommand is needed. */
import type { Command } from 'commander'
import { withExamples } from './examples.ts'

const LOADERS: Readonly<Record<string, () => Promise<Command>>> = {
  mount: async () => (await import('./commands/mount.ts')).mountCommand(),
  umount: async () => (await import('./commands/umount.ts')).umountCommand(),
  status: async () => (await import('./commands/status.ts')).statusCommand(),
  stats: async () => (await import('./commands/stats.ts')).statsCommand(),
  top: async () => (await import('./commands/top.ts')).topCommand(),
  sync: async () => (await import('./commands/sync.ts')).syncCommand(),
  log: async () => (await import('./commands/log.ts')).logCommand(),
  watch: async () => (await import('./commands/watch.ts')).watchCommand(),
  diff: async () => (await import('./commands/diff.ts')).diffCommand(),
  bisect: async () => (await import('./commands/bisect.ts')).bisectCommand(),
  ls: async () => (await import('./commands/ls.ts')).lsCommand(),
  cat: async () => (await import('./commands/cat.ts')).catCommand(),
  tag: async () => (await import('./commands/tag.ts')).tagCommand(),
  undo: async () => (await import('./commands/undo.ts')).undoCommand(),
  restore: async () => (await import('./commands/restore.ts')).restoreCommand(),
  clone: async () => (await import('./commands/clone.ts')).cloneCommand(),
  txn: async () => (await import('./commands/txn.ts')).txnCommand(),
  branch: async () => (await import('./commands/branch.ts')).branchCommand(),
  merge: async () => (await import('./commands/merge.ts')).mergeCommand(),
  pack: async () => (await import('./commands/pack.ts')).packCommand(),
  history: async () => (await import('./commands/history.ts')).historyCommand(),
  key: async () => (await import('./commands/key.ts')).keyCommand(),
  fsck: async () => (await import('./commands/fsck.ts')).fsckCommand(),
  doctor: async () => (await import('./commands/doctor.ts')).doctorCommand(),
  serve: async () => (await import('./commands/serve.ts')).serveCommand(),
  rejoin: async () => (await import('./commands/rejoin.ts')).rejoinCommand(),
  rescue: async () => (await import('./commands/rescue.ts')).rescueCommand(),
  copy: async () => (await import('./commands/copy.ts')).copyCommand(),
  send: async () => (await import('./commands/send.ts')).sendCommand(),
  receive: async () => (await import('./commands/receive.ts')).receiveCommand(),
  replicate: async () => (await import('./commands/replicate.ts')).replicateCommand(),
  backup: async () => (await import('./commands/backup.ts')).backupCommand(),
  import: async () => (await import('./commands/import.ts')).importCommand(),
  export: async () => (await import('./commands/export.ts')).exportCommand(),
  df: async () => (await import('./commands/df.ts')).dfCommand(),
  web: async () => (await import('./commands/web.ts')).webCommand(),
}

/** The loader of each subcommand, in the order of the help. */
export const COMMANDS: typeof LOADERS = Object.fromEntries(
  Object.entries(LOADERS).map(([name, load]) => [name, async () => withExamples(await load())]),
)

/** Loads all of them. */
export const loadCommands = (): Promise<Command[]> => Promise.all(Object.values(COMMANDS).map(load => load()))
