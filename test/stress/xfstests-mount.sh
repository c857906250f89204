#!/bin/sh
# mount(8)'s arguments for a mount of the type fuse.zblkfs, as `zblkfs mount`. Usage: xfstests-mount.sh ZBLKFS ARGUMENTS...
set -eu
zblkfs=$1
shift
options= source= directory=
while [ $# -gt 0 ]; do
  case $1 in
    -t) shift ;;
    -o)
      shift
      options=${options:+$options,}$1
      ;;
    -*) ;;
    *)
      if [ -z "$source" ]; then source=$1; else directory=$1; fi
      ;;
  esac
  shift
done
case ",$options," in
  *,remount,*) exec /bin/mount -i -o "$options" "$directory" ;;
esac
exec "$zblkfs" mount "$source" "$directory" ${options:+-o "$options"}
