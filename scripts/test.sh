#!/bin/sh
# Installs what the tests need, checks format, lint and types, runs all tests, lists the skipped ones with the reasons,
# and prints as its last line `N passed, N failed`. Exits with 0 when nothing failed.
#
# As root the tests run in process and mount namespaces of their own, so that a run that is killed by any signal
# leaves no daemon and no mount.
set -eu
root=$(cd "$(dirname "$0")/.." && pwd -P)
cd "$root"
scripts/setup.sh --tests
export PATH="$root/node_modules/.bin:$PATH"

work=$(mktemp -d "${TMPDIR:-/tmp}/zblkfs-run-XXXXXX")
# Some tests run as other users, whose daemons also write logs.
chmod 1777 "$work"
mkdir -m 1777 "$work/state"
export TMPDIR="$work"
export XDG_STATE_HOME="$work/state"
clean_up() {
  status=$?
  trap - EXIT INT TERM HUP
  awk -v below="$work/" 'index($5, below) == 1 { print $5 }' /proc/self/mountinfo | while read -r mount; do
    scripts/zblkfs umount -l "$mount" >/dev/null 2>&1 || true
  done
  rm -rf "$work"
  exit "$status"
}
trap clean_up EXIT
trap 'exit 130' INT
trap 'exit 143' TERM HUP

# Reaps orphaned processes of the tests, as the first process of a namespace must.
alone() {
  if [ "$(id -u)" = 0 ] && unshare --mount --pid --fork --mount-proc true 2>/dev/null; then
    setpriv --pdeathsig KILL unshare --mount --pid --fork --kill-child --mount-proc sh -c '"$@"; exit $?' sh "$@"
  else
    "$@"
  fi
}

failed=0
for check in format lint types; do
  echo "== npm run check:$check"
  npm run --silent "check:$check" || failed=$((failed + 1))
done

echo "== vitest run $*"
report=$work/report.json
alone vitest run --reporter=default --reporter=./test/tools/skip-reporter.ts --reporter=json --outputFile.json="$report" "$@" ||
  echo "vitest ended with exit code $?"
# No report, or one that says failure without a failed test (a file that does not load), is a failure too.
counts=$(node -e '
  const report = JSON.parse(require("fs").readFileSync(process.argv[1], "utf8"))
  const failed = report.numFailedTests + report.testResults.filter(
    file => file.status === "failed" && file.assertionResults.every(({ status }) => status !== "failed"),
  ).length
  console.log(report.numPassedTests, Math.max(failed, report.success ? 0 : 1))
' "$report" 2>/dev/null) || counts="0 1"
passed=${counts% *}
failed=$((failed + ${counts#* }))

echo "$passed passed, $failed failed"
[ "$failed" = 0 ]
