#!/bin/bash
# Runs the tests whose guests are programs of their own: on /dev/kvm, and where there is
# none in the nested machine, with those of SeaBIOS, which were skipped then. That has one
# processor: with two, QEMU 7.2's threads now and then leave a nested guest standing, and
# the tests take longer.
set -euo pipefail

cd "$(dirname "$0")/.."
if [ -e /dev/kvm ]; then
	exec go test -count=1 -v ./guest-tests/payload
fi
for package in ./guest-tests/payload ./guest-tests/bios; do
	program=$PWD/build/$(basename "$package").test
	go test -c -o "$program" "$package"
	# Files in memory: some of the tests need sockets, which the host's do not have there.
	bin/govmm nest-exec --cpus 1 --memory 1G --nest-dir build/nest -- \
		/bin/sh -c "cd $package && TMPDIR=/dev/shm exec $program -test.v"
done
