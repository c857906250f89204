#!/bin/sh
# Installs fio and the peers of the benchmark (Debian, Ubuntu). Needs root.
set -eu

# Requirements as PROGRAM:PACKAGE.
missing=
for needed in fio:fio bindfs:bindfs fuse2fs:fuse2fs s3backer:s3backer qemu-img:qemu-utils \
  qemu-storage-daemon:qemu-system-common; do
  command -v "${needed%%:*}" >/dev/null || missing="$missing ${needed#*:}"
done
if [ -z "$missing" ]; then
  echo "all that the benchmark needs is there"
  exit 0
fi
echo "installing$missing"
apt-get update -qq
# Some distributions do not have every peer: the benchmark skips a missing one.
for package in $missing; do
  DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "$package" ||
    echo "$package cannot be had" >&2
done
