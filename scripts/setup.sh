#!/bin/sh
# Installs the missing requirements of zblkfs on Debian or Ubuntu: system packages (with sudo unless run as root) and npm
# packages in this checkout. Prints each step. On other systems it lists what is missing.
#
#   scripts/setup.sh           what a mount needs
#   scripts/setup.sh --servers also PostgreSQL and OpenStack Swift, for the demonstration of many machines
#   scripts/setup.sh --tests   also what the tests use
set -eu
root=$(cd "$(dirname "$0")/.." && pwd -P)

say() { echo "setup: $*"; }
fail() {
  echo "setup: $*" >&2
  exit 1
}
has() { command -v "$1" >/dev/null 2>&1; }
is_installed() { [ "$(dpkg-query -W -f '${db:Status-Status}' "$1" 2>/dev/null)" = installed ]; }
is_known() { apt-cache show "$1" >/dev/null 2>&1; }

# Opens the device: in a container it may exist but be forbidden. Done first, because the other steps take long.
if ! (exec 3<>/dev/fuse) 2>/dev/null; then
  if [ -e /dev/fuse ]; then
    say "/dev/fuse cannot be opened: make it readable and writable for you (chmod 666 /dev/fuse), or start a container with"
  else
    say "there is no /dev/fuse: load the kernel module (modprobe fuse), or start a container with"
  fi
  say "  --device /dev/fuse --cap-add SYS_ADMIN"
  fail "without it nothing can be mounted"
fi

# fusermount3 mounts for ordinary users; the tests also drive other programs on mounts and read our records in Python.
packages="fuse3"
programs="fusermount3"
servers="postgresql swift-proxy swift-account swift-container swift-object"
[ "${1-}" != --servers ] || packages="$packages $servers"
if [ "${1-}" = --tests ]; then
  packages="$packages acl attr cadaver chromium debootstrap diod e2fsprogs fio git libnbd-bin lintian man-db mount openssl procps qemu-utils rclone rsync sqlite3 tar
    $servers pgbouncer python3 python3-persistent python3-btrees python3-zodbpickle"
  programs="$programs chromium debootstrap lintian setfacl setfattr mkfs.ext4 fio git mount openssl ps qemu-img rsync sqlite3 tar python3"
fi
has node || packages="$packages nodejs"
has npm || packages="$packages npm"

if ! has apt-get; then
  missing=
  for program in $programs npm; do
    has "$program" || missing="$missing $program"
  done
  ldconfig -p 2>/dev/null | grep -q 'libfuse\.so\.2' || missing="$missing libfuse.so.2"
  [ -z "$missing" ] || say "this is no Debian or Ubuntu: install the packages that have these:$missing"
else
  wanted=
  for package in $packages; do
    is_installed "$package" || wanted="$wanted $package"
  done
  # Only for the fuse-native driver; newer systems name it libfuse2t64.
  is_installed libfuse2 || is_installed libfuse2t64 || wanted="$wanted libfuse2"
  if [ -n "$wanted" ]; then
    if [ "$(id -u)" = 0 ]; then
      as_root=
    elif has sudo; then
      as_root=sudo
    else
      fail "run this as root, which is needed once: apt-get install$wanted"
    fi
    # A new machine may be in the middle of its own updates.
    apt="$as_root env DEBIAN_FRONTEND=noninteractive apt-get -qq -o DPkg::Lock::Timeout=300"
    say "fetching the list of packages (apt-get update)"
    $apt update || say "apt-get update failed; going on with the list that is there"
    ! is_known libfuse2t64 || wanted=$(echo "$wanted" | sed 's/ libfuse2$/ libfuse2t64/')
    available=
    for package in $wanted; do
      if is_known "$package"; then
        available="$available $package"
      else
        say "there is no package $package here: continuing without it"
      fi
    done
    if [ -n "$available" ]; then
      case "$available " in
        *" postgresql "*)
          # Tests start servers of their own: the package is not to make a cluster and start it.
          conf=/etc/postgresql-common/createcluster.conf
          if [ ! -e "$conf" ]; then
            $as_root mkdir -p "${conf%/*}"
            echo "create_main_cluster = false" | $as_root tee "$conf" >/dev/null
          fi
          ;;
      esac
      # Packages start the services of Swift and PgBouncer, which the tests do not use.
      stopped=
      for package in $available; do
        case $package in swift-* | pgbouncer) stopped="$stopped $package" ;; esac
      done
      say "installing$available (apt-get install)"
      # shellcheck disable=SC2086 # a list of packages
      $apt install -y -o Dpkg::Options::=--force-confold --no-install-recommends $available >/dev/null || fail "apt-get could not install$available"
      if [ -n "$stopped" ] && [ -d /run/systemd/system ]; then
        for service in $stopped; do
          $as_root systemctl disable --now "$service*" >/dev/null 2>&1 || true
        done
      fi
    fi
  fi
fi

# A Node that is too old for zblkfs is enough to install the right one, which is one of the npm packages.
stamp=$root/node_modules/.package-lock.json
if [ ! -f "$stamp" ] || [ "$root/package-lock.json" -nt "$stamp" ] || [ ! -x "$root/node_modules/.bin/node" ]; then
  has npm || fail "npm is missing: install Node with npm (https://nodejs.org), then run this again"
  say "installing the npm packages that package-lock.json names, Node among them (npm ci)"
  # The next run repeats an interrupted installation.
  trap 'rm -f "$stamp"' EXIT
  trap 'exit 130' INT TERM HUP
  # Only the install script of the package node runs, which downloads Node: the others would need a compiler to build
  # binaries that the packages contain already.
  flags="--include=dev --ignore-scripts --no-audit --no-fund --loglevel=error"
  # shellcheck disable=SC2086 # a list of options
  (cd "$root" && npm ci $flags && npm rebuild node --loglevel=error >/dev/null) ||
    fail "npm ci failed: it needs npm 8 or later (this is npm $(npm --version)) and the registry in reach"
  # An npm that is run by an old Node skips optional packages that require a newer one.
  # shellcheck disable=SC2086
  (cd "$root" && PATH="$root/node_modules/.bin:$PATH" NODE_OPTIONS=--no-deprecation npm install --no-save $flags) ||
    fail "npm install failed"
  touch "$stamp"
  trap - EXIT INT TERM HUP
fi

if [ "${1-}" = --tests ] && ! ls /usr/lib/postgresql/*/bin/initdb >/dev/null 2>&1 && ! has initdb; then
  say "there is no PostgreSQL: its tests are skipped"
fi
if [ "${1-}" = --tests ] && ! has swift-proxy-server; then
  say "there is no OpenStack Swift, a server of S3: its tests are skipped"
fi
say "all is there"
