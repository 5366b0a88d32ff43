#!/bin/bash
# Runs the tests that boot stock kernels; the arguments are go test's.
#
# In the nested machine one that failed gets a second chance: the SVM that QEMU emulates now
# and then delivers an interrupt twice, of which a guest's kernel dies or stands
# (ARCHITECTURE.md, "Where measurement disagreed"). A processor does not do that, so there
# is no second chance where KVM has one, and none for more failures than this explains.
set -euo pipefail

cd "$(dirname "$0")/.."
most=2 # failures that get a second chance
log=build/guests.log
mkdir -p build

status=0
GOVMM_GUESTS=required go test -count=1 -v -parallel 2 "$@" ./guest-tests 2>&1 | tee "$log" || status=$?
[ $status != 0 ] || exit 0
bin/govmm doctor --output json | grep -q '"accel": *"nested"' || exit $status
mapfile -t failed < <(sed -n 's/^--- FAIL: \(Test[A-Za-z0-9_]*\) .*/\1/p' "$log" | sort -u)
if [ ${#failed[@]} = 0 ] || [ ${#failed[@]} -gt $most ]; then
	exit $status
fi
echo
echo "Once more, as an emulated processor ran them: ${failed[*]}"
names=$(IFS='|'; echo "${failed[*]}")
GOVMM_GUESTS=required exec go test -count=1 -v -parallel 2 "$@" -run "^($names)\$" ./guest-tests
