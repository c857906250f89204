# What both demos share, for `.`: $root is the repository; $mounts are the directories in $work that may be mounted.
zblkfs() { "$root/scripts/zblkfs" "$@"; }
say() { printf '\n== %s\n' "$*"; }
fail() {
  echo "demo: $*" >&2
  exit 1
}
# Ends the other processes of the demo.
end_servers() { :; }

work=
clean_up() {
  status=$?
  trap - EXIT INT TERM HUP
  if [ -n "$work" ]; then
    for name in $mounts; do
      ! grep -q " $work/$name " /proc/self/mountinfo || zblkfs umount -l "$work/$name" >/dev/null 2>&1 || true
    done
    end_servers
    rm -rf "$work"
  fi
  exit "$status"
}
trap clean_up EXIT
trap 'exit 130' INT
trap 'exit 143' TERM HUP

# Makes $work. The logs of daemons go with the rest.
make_work() {
  work=$(mktemp -d "${TMPDIR:-/tmp}/zblkfs-demo-XXXXXX")
  export XDG_STATE_HOME="$work"
}
