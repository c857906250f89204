#!/bin/sh
# kill-daemon.sh DATABASE: kills the daemon that serves it, and waits for its end.
for pid in $(pgrep -x -f "zblkfs $1 .*"); do
  kill -9 "$pid"
  while kill -0 "$pid" 2>/dev/null; do sleep 0.05; done
done
