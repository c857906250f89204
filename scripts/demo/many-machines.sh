#!/bin/sh
# One database on two mounts, as two machines would mount it: names and small data on a PostgreSQL server, the rest in an
# S3 bucket. Starts both servers itself, in a temporary directory, and leaves nothing behind, also when it is interrupted.
set -eu
root=$(cd "$(dirname "$0")/../.." && pwd -P)
mounts='one two'
. "$root/scripts/demo/common.sh"
end_servers() {
  # It is their input.
  exec 3>&-
  [ -z "${servers-}" ] || wait "$servers" || true
}

"$root/scripts/setup.sh" --servers

make_work
chmod 755 "$work"
mkdir "$work/one" "$work/two" "$work/servers"
chmod 755 "$work/servers"
export XDG_CACHE_HOME="$work/cache"
# The keys of the S3 server. Yours are in ~/.aws/credentials.
export AWS_ACCESS_KEY_ID=test:tester AWS_SECRET_ACCESS_KEY=testing

say "Starting a PostgreSQL server and an S3 server (OpenStack Swift) in $work"
mkfifo "$work/input"
"$root/node_modules/.bin/node" --no-warnings "$root/test/tools/run-servers.ts" "$work/servers" <"$work/input" >"$work/urls" &
servers=$!
exec 3>"$work/input"
while [ ! -s "$work/urls" ]; do
  kill -0 "$servers" 2>/dev/null || fail "the servers did not start"
  sleep 0.2
done
read -r database bucket <"$work/urls"

say "One machine mounts a new database, whose bulk data is in the bucket"
echo "$ zblkfs mount -o 'bulk=$bucket' '$database' one"
zblkfs mount -o "bulk=$bucket" "$database" "$work/one"

say "Another one mounts it read-only, and follows"
echo "$ zblkfs mount -o ro '$database' two"
zblkfs mount -o ro "$database" "$work/two"

say "The first writes 64 MiB; fsync uploads them"
head -c 64M /dev/urandom | dd of="$work/one/big" bs=1M iflag=fullblock conv=fsync status=none
echo hello >"$work/one/small"
zblkfs sync -m "the first version" "$work/one"
written=$(sha256sum <"$work/one/big")
echo "sha256 on the first machine:   $written"

say "The second one shows the same"
tries=0
while ! cmp -s "$work/one/small" "$work/two/small"; do
  tries=$((tries + 1))
  [ "$tries" -lt 100 ] || fail "the second mount does not follow"
  sleep 0.1
done
read_there=$(sha256sum <"$work/two/big")
echo "sha256 on the second machine:  $read_there"
[ "$written" = "$read_there" ] || fail "they differ"
ls -l "$work/two"

say "History is there as with a file: 4 KiB change, and the old state is a directory"
before=$(zblkfs log -n 1 "$database" | cut -d ' ' -f 1 | head -n 1)
head -c 4096 /dev/urandom | dd of="$work/one/big" bs=4096 seek=1000 conv=notrunc,fsync status=none
zblkfs log "$database"
old=$(sha256sum <"$work/one/@$before/big")
[ "$written" = "$old" ] || fail "the old state differs"
echo "one/@$before/big is what it was"

say "Where the bytes are, and a check of every one"
zblkfs df "$work/one"
zblkfs umount "$work/two"
zblkfs umount "$work/one"
zblkfs fsck --data "$database"

say "All equal. docs/many-machines.md says how to set up your own servers."
