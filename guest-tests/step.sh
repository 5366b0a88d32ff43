#!/bin/bash
# Runs the steps of `make test`: says what runs, and how long it took.
#
#   step.sh --begin            starts a list of steps
#   step.sh NAME COMMAND...    runs a step
#   step.sh --summary          prints the list
set -euo pipefail

cd "$(dirname "$0")/.."
list=build/steps
mkdir -p build

case $1 in
--begin)
	date +%s >"$list"
	;;
--summary)
	begun=$(head -n 1 "$list")
	echo
	echo "All passed:"
	tail -n +2 "$list"
	printf '%6d s  in all\n' $(($(date +%s) - begun))
	;;
*)
	name=$1
	shift
	echo
	echo "== $name: $*"
	begun=$(date +%s%N)
	status=0
	"$@" || status=$?
	tenths=$((($(date +%s%N) - begun) / 100000000))
	if [ $status != 0 ]; then
		echo "== $name: FAILED after $((tenths / 10)).$((tenths % 10)) s (exit status $status)"
		exit $status
	fi
	echo "== $name: passed, $((tenths / 10)).$((tenths % 10)) s"
	printf '%6d.%d s  %s\n' $((tenths / 10)) $((tenths % 10)) "$name" >>"$list"
	;;
esac
