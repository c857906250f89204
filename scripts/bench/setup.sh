#!/bin/sh
# Installs what the benchmark compares zblkfs with (Debian, Ubuntu): fio, bindfs, fuse2fs. Needs root.
set -eu
missing=
for program in fio bindfs fuse2fs; do
  command -v "$program" >/dev/null || missing="$missing $program"
done
if [ -z "$missing" ]; then
  echo "all that the benchmark needs is there"
  exit 0
fi
echo "installing$missing"
apt-get update -qq
# shellcheck disable=SC2086
DEBIAN_FRONTEND=noninteractive apt-get install -y -qq $missing
