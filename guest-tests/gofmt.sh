#!/bin/sh
# Fails if any Go file is not formatted, and names it.
set -eu
cd "$(dirname "$0")/.."
unformatted=$(go list -f '{{.Dir}}' ./... | xargs gofmt -l)
[ -z "$unformatted" ] || {
	echo "not formatted (make fmt does it):"
	echo "$unformatted"
	exit 1
}
