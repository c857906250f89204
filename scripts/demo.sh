#!/bin/sh
# zblkfs's main job, from a new database to comparing what is read back after a second mount. Installs what is
# missing first, says what it does, and leaves nothing behind, also when it is interrupted.
#
#   scripts/demo.sh         with a file of 1 GiB
#   scripts/demo.sh 256     with a file of 256 MiB
#   scripts/demo.sh --many-machines    one database on two mounts, on a PostgreSQL server and an S3 bucket of its own
set -eu
root=$(cd "$(dirname "$0")/.." && pwd -P)
[ "${1-}" != --many-machines ] || exec "$root/scripts/demo/many-machines.sh"
mib=${1:-1024}
case $mib in
  *[!0-9]* | '' | 0)
    echo "demo: '$mib' is not a size in MiB: try '$0 256'" >&2
    exit 2
    ;;
esac

mounts=files
. "$root/scripts/demo/common.sh"

"$root/scripts/setup.sh"

make_work
free_mib=$(df -Pm "$work" | awk 'NR == 2 { print $4 }')
if [ "$free_mib" -lt $((mib * 3 / 2 + 64)) ]; then
  fail "$work has $free_mib MiB free, and $((mib * 3 / 2 + 64)) are needed: set TMPDIR, or try '$0 64'"
fi
db=$work/demo.zblk
files=$work/files
big=$files/big
mkdir "$files"

# What the transactions added, data and objects' records, without the room that pages have left.
stored_bytes() {
  (cd "$root" && node_modules/.bin/node -e '
    const db = new (require("better-sqlite3"))(process.argv[1], { readonly: true })
    console.log(db.prepare("SELECT sum(stored) FROM txn").pluck().get())' "$db")
}
# What the database takes on the disk: its file, and the log beside it.
bytes_on_disk() { du -B1 -sc "$db" "$db-log" | tail -1 | cut -f1; }
daemon_pid() { zblkfs status --json | grep -A9 "\"directory\": \"$files\"" | sed -n 's/.*"pid": \([0-9]*\).*/\1/p'; }
memory_mib() { awk '/^VmRSS/ { printf "%d", $2 / 1024 }' "/proc/$(daemon_pid)/status"; }
sum_of() { cat "$1" | sha256sum | cut -d ' ' -f 1; }

say "Mounting a new database: everything in the directory is kept in one file"
echo "$ zblkfs mount $db $files"
zblkfs mount "$db" "$files"
memory_before=$(memory_mib)

say "Writing a file of $mib MiB of random bytes with dd"
mkfifo "$work/copy"
sha256sum <"$work/copy" | cut -d ' ' -f 1 >"$work/written" &
head -c "${mib}M" /dev/urandom | tee "$work/copy" | dd of="$big" bs=1M iflag=fullblock conv=fsync status=none
wait
written=$(cat "$work/written")
ls -l "$big"
echo "sha256 of what was written    $written"

say "Reading it with cat"
read_back=$(sum_of "$big")
echo "sha256 of what is read        $read_back"
[ "$read_back" = "$written" ] || fail "what is read is not what was written"
memory_after=$(memory_mib)
echo "The daemon's resident memory: $memory_before MiB before, $memory_after MiB after $((2 * mib)) MiB went through it"

say "Unmounting, which stores everything, and mounting again"
zblkfs umount "$files"
stored_before=$(stored_bytes)
size_before=$(bytes_on_disk)
zblkfs mount "$db" "$files"

say "Overwriting 4 KiB in the middle of the file"
head -c 4096 /dev/urandom | dd of="$big" bs=4096 seek=$((mib * 128)) count=1 iflag=fullblock conv=notrunc status=none
changed=$(sum_of "$big")
[ "$changed" != "$written" ] || fail "the change cannot be read"
zblkfs umount "$files"
echo "The database grew by $(($(stored_bytes) - stored_before)) bytes, and still keeps the old 4 KiB. (On the disk" \
  "it took $size_before bytes, and $(($(bytes_on_disk) - size_before)) more now: it grows by pages, which have some room.)"

say "Mounting once more, and comparing"
zblkfs mount "$db" "$files"
again=$(sum_of "$big")
echo "sha256 of the changed file    $changed"
echo "sha256 of what is read now    $again"
[ "$again" = "$changed" ] || fail "what is read after the last mount is not what was written"
zblkfs umount "$files"

say "All equal. What to try next:"
cat <<EOF
  mkdir -p ~/files && $root/scripts/zblkfs mount ~/files.zblk ~/files     a database of your own
  $root/scripts/zblkfs status                                             what is mounted
  $root/scripts/zblkfs umount ~/files                                     store everything, and unmount
  $root/scripts/zblkfs mount --help                                       all options
EOF
