#!/bin/bash
# Boots systemd in namespaces with the Debian package installed, and uses its units as an administrator would.
#
#   npm run test:systemd
#
# As root, on Debian or Ubuntu with debootstrap. The machine itself needs no systemd. It takes about three minutes, one of them for
# the watchdog. Prints a line for each check, and ends with 1 if one failed.
set -euo pipefail
here=$(cd "$(dirname "$0")" && pwd -P)
[ "$(id -u)" = 0 ] || { echo 'test:systemd has to run as root' >&2; exit 2; }
command -v debootstrap > /dev/null || { echo 'debootstrap is missing: apt-get install debootstrap' >&2; exit 2; }

work=$(mktemp -d "${TMPDIR:-/tmp}/zblkfs-systemd-XXXXXX")
root=$work/root
group=/sys/fs/cgroup/unified
[ -d "$group" ] || group=/sys/fs/cgroup
group=$group/${work##*/}
booted=
clean_up() {
  [ -z "$booted" ] || kill -KILL "$booted" 2> /dev/null || true
  for _ in $(seq 50); do find "$group" -depth -type d -exec rmdir {} + 2> /dev/null && break || sleep 0.1; done
  rm -rf --one-file-system "$work"
}
trap clean_up EXIT
trap 'exit 130' INT TERM HUP

echo 'building the package and a system'
node "$here/../../scripts/package/deb.ts" --compress none --to "$work" > /dev/null
debootstrap --variant=minbase --include=systemd,systemd-sysv,dbus,fuse3 "$(. /etc/os-release; echo "$VERSION_CODENAME")" "$root" > "$work/log" 2>&1 ||
  { tail "$work/log" >&2; exit 1; }
cp "$work"/zblkfs_*.deb "$root/root/"
chroot "$root" sh -c 'dpkg -i /root/zblkfs_*.deb' > /dev/null
mkdir -p "$root/etc/zblkfs" "$root/files" "$root/fstab" "$root/data"
printf 'DB=/data/files.zblk\nDIR=/files\nOPTIONS=allow_other\n' > "$root/etc/zblkfs/files.conf"
echo '/data/fstab.zblk /fstab zblkfs defaults,nofail 0 0' > "$root/etc/fstab"
ln -s /dev/null "$root/etc/systemd/system/systemd-udevd.service"
ln -s /dev/null "$root/etc/systemd/system/console-getty.service"
chroot "$root" systemctl enable zblkfs@files > /dev/null 2>&1

cat > "$work/boot" <<BOOT
set -e
mount --make-rprivate /
mount --bind "$root" "$root"
mount -t proc proc "$root/proc"
mount -t sysfs sysfs "$root/sys"
mount -t cgroup2 cgroup2 "$root/sys/fs/cgroup"
mount -t tmpfs -o mode=755 tmpfs "$root/dev"
for name in null zero full random urandom tty fuse; do
  touch "$root/dev/\$name"
  mount --bind "/dev/\$name" "$root/dev/\$name"
done
mkdir "$root/dev/pts" "$root/dev/shm"
mount -t devpts devpts "$root/dev/pts"
mount -t tmpfs tmpfs "$root/dev/shm"
mount -t tmpfs tmpfs "$root/run"
mount -t tmpfs tmpfs "$root/tmp"
touch "$root/dev/console"
exec env -i container=other PATH=/usr/sbin:/usr/bin:/sbin:/bin chroot "$root" /lib/systemd/systemd --log-target=null --show-status=0
BOOT
mkdir "$group"
(
  echo 0 > "$group/cgroup.procs"
  exec setsid unshare --pid --mount --uts --ipc --cgroup --fork --kill-child bash "$work/boot"
) > "$work/console" 2>&1 < /dev/null &
booted=$!

first=
inside() { timeout 150 nsenter -t "$first" -m -p -u -i -C -r -w env -i PATH=/usr/sbin:/usr/bin:/sbin:/bin sh -c "$1"; }
failed=0
check() {
  local result=passed
  inside "$2" > "$work/output" 2>&1 || { result=FAILED; failed=1; }
  echo "$result: $1"
  [ "$result" = passed ] || sed 's/^/    /' "$work/output"
}
main_pid='systemctl show -p MainPID --value zblkfs@files'
ready='for i in $(seq 200); do systemctl is-active -q zblkfs@files && break; sleep 0.1; done; systemctl is-active -q zblkfs@files'

for _ in $(seq 600); do
  first=$(pgrep -P "$booted" | head -1 || true)
  [ -z "$first" ] || ! inside 'systemctl is-active -q multi-user.target' 2> /dev/null || break
  sleep 0.1
done

check 'the service and the line in /etc/fstab are mounted after the boot' \
  "$ready; findmnt -n -t fuse.zblkfs /files; findmnt -n -t fuse.zblkfs /fstab; test -z \"\$(systemctl --failed --plain --no-legend)\""
check 'after a crash the service is started again, without the stale mount, and synced data is there' \
  "pid=\$($main_pid); echo synced > /files/a; zblkfs sync /files; kill -KILL \$pid; for i in \$(seq 200); do [ \"\$($main_pid)\" = \$pid ] || break; sleep 0.1; done; sleep 3; $ready; grep -q synced /files/a"
check 'stopping the service stores everything and unmounts' \
  "echo unsynced > /files/b; systemctl stop zblkfs@files; ! findmnt -n /files; systemctl start zblkfs@files; grep -q unsynced /files/b"
check 'a daemon that hangs is killed by the watchdog and started again' \
  "pid=\$($main_pid); kill -STOP \$pid; for i in \$(seq 100); do [ \"\$($main_pid)\" = \$pid ] || break; sleep 1; done; sleep 3; $ready; grep -q unsynced /files/b"
check 'the timer of the scrub is enabled, and its report is written' \
  'systemctl enable -q --now zblkfs-scrub@files.timer; systemctl is-active -q zblkfs-scrub@files.timer; systemctl start zblkfs-scrub@files; grep -q "is clean" /var/log/zblkfs/scrub-files.txt'
check 'a database with damage makes the scrub fail, with a report' \
  'mkdir /other; printf "DB=/data/bad.zblk\nDIR=/other\n" > /etc/zblkfs/bad.conf; zblkfs mount /data/bad.zblk /other; head -c 3000000 /dev/urandom > /other/f; zblkfs umount /other
   printf "damage" | dd of=/data/bad.zblk-log/00000000 bs=1 seek=1000000 conv=notrunc status=none; ! systemctl start zblkfs-scrub@bad; cat /var/log/zblkfs/scrub-bad.txt; grep -q "exit code [1-9]" /var/log/zblkfs/scrub-bad.txt'
check 'changes just before the shutdown' \
  'head -c 20000000 /dev/urandom | tee /files/big > /fstab/big; sha256sum < /files/big > /data/sum; echo last > /files/last; echo last > /fstab/last; systemctl poweroff'
for _ in $(seq 600); do kill -0 "$booted" 2> /dev/null || break; sleep 0.1; done
for name in files fstab; do
  if "$here/../../scripts/zblkfs" cat "$root/data/$name.zblk" big | sha256sum | cmp -s - "$root/data/sum" &&
    [ "$("$here/../../scripts/zblkfs" cat "$root/data/$name.zblk" last)" = last ]; then
    echo "passed: the shutdown stored everything in /$name"
  else
    echo "FAILED: the shutdown stored everything in /$name"
    failed=1
  fi
done
exit "$failed"
