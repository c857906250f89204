#!/bin/sh
# Runs xfstests (https://git.kernel.org/pub/scm/fs/xfs/xfstests-dev.git) on two zblkfs mounts, as root.
#
#   XFSTESTS_DIR=/path/to/xfstests test/stress/xfstests.sh [what 'check' takes; if absent: -g generic/quick]
#
# Debian has no package of it: build it by its README, and name its directory, where `check` is. The tests mount and unmount by
# mount(8) with the type fuse.zblkfs; programs that stand before the system's in PATH make these `zblkfs mount` and `zblkfs
# umount` of this checkout, so that nothing is installed. The tests that are left out are in xfstests-exclusions.txt beside
# this file, each with its reason; docs/posix.md explains them.
set -eu
here=$(cd "$(dirname "$0")" && pwd -P)
zblkfs=$here/../../scripts/zblkfs
directory=${XFSTESTS_DIR:-/var/lib/xfstests}
if [ ! -x "$directory/check" ]; then
  echo "xfstests is not in $directory: build it by its README, and set XFSTESTS_DIR to where its 'check' is" >&2
  exit 2
fi
[ "$(id -u)" = 0 ] || { echo 'xfstests has to run as root' >&2; exit 2; }

work=$(mktemp -d "${TMPDIR:-/tmp}/zblkfs-xfstests-XXXXXX")
clean_up() {
  for mount in "$work/test" "$work/scratch"; do
    ! grep -q " $mount fuse.zblkfs " /proc/self/mounts || "$zblkfs" umount -l "$mount" >/dev/null || true
  done
  rm -rf "$work"
}
trap clean_up EXIT
trap 'exit 130' INT TERM HUP
chmod 755 "$work"
mkdir "$work/bin" "$work/test" "$work/scratch" "$work/results"

cat >"$work/bin/mount" <<WRAPPER
#!/bin/sh
# Mounts of our type by this checkout, all others by the system's program.
for word in "\$@"; do
  [ "\$word" != fuse.zblkfs ] || exec sh "$here/xfstests-mount.sh" "$zblkfs" "\$@"
done
exec $(command -v mount) "\$@"
WRAPPER
cat >"$work/bin/umount" <<WRAPPER
#!/bin/sh
# The last word is what is unmounted. Returns when the daemon has ended, as a mount that follows at once needs it.
for word in "\$@"; do :; done
if grep -q " \$word fuse.zblkfs " /proc/self/mounts; then exec "$zblkfs" umount "\$word"; fi
exec $(command -v umount) "\$@"
WRAPPER
chmod +x "$work/bin/mount" "$work/bin/umount"
cat >"$work/local.config" <<CONFIG
export FSTYP=fuse
export FUSE_SUBTYP=.zblkfs
export TEST_DEV=$work/test.zblk
export TEST_DIR=$work/test
export SCRATCH_DEV=$work/scratch.zblk
export SCRATCH_MNT=$work/scratch
export MOUNT_OPTIONS="-o allow_other,suid,dev"
export TEST_FS_MOUNT_OPTS="-o allow_other,suid,dev"
export RESULT_BASE=$work/results
CONFIG
sed 's/#.*//; s/[[:space:]]*$//; /^$/d' "$here/xfstests-exclusions.txt" >"$work/exclusions"

export PATH="$work/bin:$PATH" HOST_OPTIONS="$work/local.config"
mount -t fuse.zblkfs -o allow_other,suid,dev "$work/test.zblk" "$work/test"
cd "$directory"
[ $# -gt 0 ] || set -- -g generic/quick
./check -E "$work/exclusions" "$@"
