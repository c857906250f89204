/** The examples in the help and man page of each command. */
import type { Command } from 'commander'

const EXAMPLES: Readonly<Record<string, readonly (readonly [command: string, meaning: string])[]>> = {
  mount: [
    ['zblkfs mount ~/files.zblk ~/files', 'for reading and writing'],
    ['zblkfs mount ~/files.zblk ~/then -o at=2h', 'as it was two hours ago, read-only'],
    ['zblkfs mount ~/files.zblk ~/files -o remount,commit_interval=1s', 'change an option'],
    ['zblkfs mount ~/files.zblk ~/trial -o branch=trial', 'a branch, beside the database itself'],
    ['zblkfs mount ~/secret.zblk ~/secret -o encryption=aes-256-gcm', 'a new encrypted database'],
    ['zblkfs mount Data.fs ~/zodb', 'the big files of a ZODB database'],
  ],
  key: [
    ['zblkfs key ~/secret.zblk --change', 'another passphrase; no data is rewritten'],
    ['zblkfs key ~/secret.zblk --add office --new-key-file /media/usb/key', 'a key file opens it, too'],
    ['zblkfs key ~/secret.zblk --remove office', 'it no longer opens the database'],
  ],
  umount: [
    ['zblkfs umount ~/files', 'store everything, then unmount'],
    ['zblkfs umount -l ~/files', 'even if it is in use, or its daemon is dead'],
  ],
  status: [['zblkfs status', 'every mount, and which process serves it']],
  stats: [
    ['zblkfs stats ~/files', 'counters and sizes since it was mounted'],
    ["zblkfs stats ~/files --json | jq '.requests.read'", 'the counter of one operation'],
  ],
  top: [
    ['zblkfs top ~/files', 'a screen of what happens now; q ends it'],
    ['zblkfs top ~/files -i 10s -n 6 > load', 'a line every ten seconds, for a minute'],
  ],
  sync: [
    ['zblkfs sync ~/files -m "before the upgrade"', 'a moment to return to'],
    ['zblkfs sync --to 040d304dce31a4c2 ~/files', 'wait for what another machine has stored'],
  ],
  rejoin: [
    ['zblkfs rejoin ~/files', 'write again, after this machine was cut off'],
    ['zblkfs rejoin --discard ~/files', 'and drop what could not be stored'],
  ],
  log: [
    ['zblkfs log ~/files -n 10', 'the last ten transactions'],
    ['zblkfs log ~/files/disk.img --since 2d', 'those that changed one file'],
    ["zblkfs log ~/files --deleted '*.jpg'", 'find a deleted picture'],
    ['zblkfs log ~/files -p -S password', 'where a word came and went'],
  ],
  diff: [
    ['zblkfs diff yesterday now --db ~/files', 'what changed since yesterday'],
    ['zblkfs diff v1 v2 ~/files/disk.img', 'one file, between two tags'],
    ['zblkfs diff v1 v2 --text --db ~/files', 'text files line by line'],
  ],
  watch: [
    ['zblkfs watch ~/files', 'each transaction as it is made'],
    ['zblkfs watch ~/files/inbox --json --since 040d304dce31a4c2', 'continue after this one'],
    ["zblkfs watch ~/files --exec 'jq -r .path | xargs -n1 ./thumbnail'", 'run a command for each'],
  ],
  bisect: [
    ['zblkfs bisect ~/files/site.conf -- nginx -t -c', 'when did the file stop being valid?'],
    ["zblkfs bisect ~/files/src --good v1 -- sh -c 'cd {} && make test'", 'a directory, since a tag'],
    ['zblkfs bisect notes --db ~/files.zblk -- grep -q TODO', 'without a mount'],
  ],
  web: [
    ['zblkfs web ~/files', 'print the URL of a page that shows a mounted database'],
    ['zblkfs web ~/files.zblk --port 8080', 'one that is not mounted, on a given port'],
  ],
  ls: [['zblkfs ls ~/files.zblk photos --at yesterday', 'a directory as it was, without a mount']],
  cat: [['zblkfs cat ~/files.zblk notes --at v1', 'a file as it was, without a mount']],
  tag: [
    ['zblkfs tag v1 --db ~/files', 'name the present'],
    ['zblkfs tag -l --db ~/files', 'list the tags'],
    ['zblkfs tag -d v1 --db ~/files', 'delete a tag'],
    [
      'zblkfs tag audit-2026 --hold --db ~/files',
      'name the present for good: deleting it needs --release first',
    ],
  ],
  undo: [
    ['zblkfs undo 040d304dce31a4c2 --db ~/files', 'revert one transaction'],
    ['zblkfs undo 040d304dce31a4c2 040d304ed2a1b3c4 --db ~/files', 'revert these and all between'],
  ],
  restore: [
    ['zblkfs restore ~/files/notes --at 10min', 'the file as it was ten minutes ago'],
    ['zblkfs restore ~/files/notes --at v1 --to ~/files/notes.v1', 'next to the present one'],
    ['zblkfs restore ~/files/src ~/files/doc --at 1h --delete --dry-run', 'what would change'],
    ['zblkfs restore ~/files --at yesterday --delete', 'everything, as it was yesterday'],
  ],
  clone: [['zblkfs clone ~/files/disk.img ~/files/test.img', 'in an instant, whatever its size']],
  txn: [['zblkfs txn ~/files -m upgrade -- make install', 'one transaction, or none if it fails']],
  branch: [
    ['zblkfs branch ~/files trial', 'begins now'],
    ['zblkfs branch ~/files.zblk old --at yesterday', 'begins in the past'],
    ['zblkfs branch ~/files', 'list the branches'],
    ['zblkfs branch ~/files -d trial', 'delete one'],
  ],
  merge: [
    ['zblkfs merge ~/files trial --dry-run', 'what would change, and what is in conflict'],
    ['zblkfs merge ~/files trial', 'merge what can be merged'],
    ['zblkfs merge ~/files trial --resolved', 'after conflicts were resolved by hand'],
  ],
  pack: [
    ['zblkfs pack ~/files', 'drop history as the setting says'],
    ['zblkfs pack ~/files.zblk --keep 0', 'keep only the present'],
    ['zblkfs pack ~/files --dry-run --keep all=7d,daily=1y', 'what a schedule would drop'],
  ],
  history: [
    ['zblkfs history ~/files', 'show the setting'],
    ['zblkfs history ~/files --keep 30d', 'keep 30 days from now on'],
    ['zblkfs history ~/files --keep all=7d,daily=30d,weekly=1y', 'then one moment a day, then one a week'],
  ],
  fsck: [
    ['zblkfs fsck ~/files --data', 'check every byte while it is mounted'],
    ['zblkfs fsck ~/files.zblk --repair', 'repair it; copy it first'],
  ],
  doctor: [['zblkfs doctor /srv', 'before databases are kept there']],
  serve: [
    ['zblkfs serve --nbd ~/files/disk.img', 'a disk for qemu: a file of a mount'],
    ['zblkfs serve ~/files.zblk --nbd disk.img --at yesterday', 'as it was, read-only, without a mount'],
    ['zblkfs serve ~/files.zblk --9p --listen 5640', 'for a Linux guest'],
    ['zblkfs serve ~/files.zblk --webdav', 'for a desktop: prints the URL and a password'],
  ],
  rescue: [
    ['zblkfs rescue ~/files ~/saved.zblk', 'a removed database, before the mount is ended'],
    ['zblkfs rescue ~/files ~/rescued', 'what a mount that was cut off from its server has not stored'],
  ],
  copy: [
    ['zblkfs copy ~/files.zblk postgres://me@server/files', 'from a file to a server'],
    ['zblkfs copy postgres://me@server/files ~/files.zblk', 'and back'],
    [
      'zblkfs copy ~/files.zblk postgres://me@server/files --bulk s3://bucket/files',
      'to a server, with the bulk data in a bucket',
    ],
  ],
  send: [
    ['zblkfs send ~/files.zblk | ssh host zblkfs receive files.zblk', 'a copy on another machine'],
    ['zblkfs send ~/files --from v1 > changes', 'what has changed since a tag'],
    ['zblkfs send ~/files --from v1 -n', 'how much that is'],
    ['zblkfs send --raw ~/secret.zblk | ssh host zblkfs receive secret.zblk', 'no key on either machine'],
  ],
  receive: [
    ['zblkfs receive ~/copy.zblk < changes', 'from a file'],
    ['zblkfs receive ~/restored.zblk /backup/files', 'restore a backup'],
  ],
  replicate: [
    ['zblkfs replicate ~/files ssh://host/~/files.zblk --every 10s', 'a standby on another machine'],
    ['zblkfs replicate ~/files /mnt/disk2/files.zblk', 'bring a copy up to date, once'],
  ],
  backup: [
    ['zblkfs backup ~/files /backup/files', 'every night, for example'],
    ['zblkfs backup ~/files /backup/files --verify', 'and read all of it'],
    ['zblkfs backup --raw ~/secret.zblk /backup/secret', 'an encrypted database, without its key'],
  ],
  import: [['zblkfs import Data.fs ~/files.zblk --history', 'with every transaction']],
  export: [
    ['zblkfs export ~/files.zblk files.fs', 'a new FileStorage'],
    ['zblkfs export ~/files.zblk files.fs --from 040d304dce31a4c2', 'append later transactions'],
  ],
  df: [
    ['zblkfs df ~/files', 'what takes space'],
    ['zblkfs df ~/files --files', 'each file'],
  ],
}

/** Adds its examples to a command's help. */
export function withExamples(command: Command): Command {
  const examples = EXAMPLES[command.name()] ?? []
  const width = Math.max(...examples.map(([line]) => line.length))
  const lines = examples.map(([line, meaning]) => `  ${line.padEnd(width)}  # ${meaning}`)
  return command.addHelpText('after', `\nExamples:\n${lines.join('\n')}`)
}
