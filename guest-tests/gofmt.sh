#!/bin/sh
# Fails if any Go file is not formatted, and names it.
set -eu
cd "$(dirname "$0")/.."
unformatted=$(git ls-files -co --exclude-standard '*.go' | xargs gofmt -l)
[ -z "$unformatted" ] || {
	echo "not formatted (make fmt does it):"
	echo "$unformatted"
	exit 1
}
