#!/bin/sh
# Runs the public stress tools that are installed against a directory: fio with verify, stress-ng's filesystem
# stressors. Usage: test/stress/public.sh DIR [SECONDS per tool]
# Debian has both (apt-get install fio stress-ng). What is not installed is named and left out.
set -eu

dir=$(realpath "${1:?usage: test/stress/public.sh DIR [SECONDS]}")
seconds=${2:-10}
work=$dir/public-stress.$$
mkdir "$work"
trap 'rm -rf "$work"' EXIT
cd "$work" # fio leaves its state where it runs
failed=

if command -v fio >/dev/null; then
  for options in '--rw=randwrite --bs=4k' '--rw=randrw --bsrange=1k-128k --bs_unaligned' \
    '--rw=randwrite --bs=16k --direct=1' '--rw=randwrite --bs=4k --ioengine=mmap'; do
    echo "fio $options"
    # shellcheck disable=SC2086 # the options are words
    fio --name=verify --directory="$work" --size=32m --numjobs=2 --verify=crc32c --verify_fatal=1 --time_based \
      --runtime="$seconds" --output-format=terse $options >/dev/null || failed="$failed fio"
    rm -f "$work"/verify.*
  done
else
  echo 'fio is not installed: left out'
fi

# Stressors that work on files of the directory that they are given, with their own checks on.
stressors='access chattr chmod chown copy-file copy-file-range dentry dir dirdeep dirmany fallocate fcntl fiemap
  filename file-ioctl flock fpunch fsize getdent hdd iomix link lockf locka lockofd metamix mmapaddr msync
  open punch rename seek symlink sync-file touch truncate unlink utime xattr'
if command -v stress-ng >/dev/null; then
  known=$(stress-ng --stressors)
  for stressor in $stressors; do
    case " $known " in *" $stressor "*) ;; *) continue ;; esac
    echo "stress-ng --$stressor"
    timeout $((seconds * 10 + 60)) stress-ng --"$stressor" 2 --timeout "$seconds" --temp-path "$work" --verify \
      --hdd-bytes 32m --quiet || failed="$failed $stressor"
  done
else
  echo 'stress-ng is not installed: left out'
fi

if [ -n "$failed" ]; then
  echo "failed:$failed"
  exit 1
fi
echo 'all passed'
