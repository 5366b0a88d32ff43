# govmm: `make help` lists the targets.

SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help

STATICCHECK := honnef.co/go/tools/cmd/staticcheck@v0.8.2
# Packages without the tests that boot stock kernels, which have a step of their own.
UNIT = $$(go list ./... | grep -v '/guest-tests$$')
# Says what runs and how long it took, and keeps that for the summary.
step = @guest-tests/step.sh
# What only test-long does in guests takes most of an hour.
GUEST_LIMIT = $(if $(GOVMM_TEST_LONG),2h,30m)
export CGO_ENABLED ?= 0

.NOTPARALLEL:
.PHONY: help build man setup setup-test run shell test test-long check-code unit payload guests fuzz bench lint fmt clean

help: ## list the targets
	@sed -n 's/^\([a-z-]*\):.*## /\1\t/p' $(MAKEFILE_LIST) | expand -t 14

build: ## build bin/govmm
	@go build -trimpath -o bin/govmm ./cmd/govmm

man: build ## write the manual pages to build/man
	@bin/govmm man build/man

setup: ## install and fetch what `make run` and `make shell` need
	@guest-tests/setup.sh run

setup-test:
	$(step) 'set-up' guest-tests/setup.sh test

run: setup ## demonstration: Debian's kernel boots twice on an emulated MegaRAID disk
	@go run ./guest-tests/cmd/demo

shell: setup ## a shell in a guest with a disk that is kept
	@go run ./guest-tests/cmd/demo shell

test: ## all tests, set-up included
	@guest-tests/step.sh --begin
	@$(MAKE) --no-print-directory setup-test check-code unit payload guests
	@guest-tests/step.sh --summary

test-long: export GOVMM_TEST_LONG = 1
test-long: ## the same at length, then every fuzz target for a minute and the guests three times more
	@guest-tests/step.sh --begin
	@$(MAKE) --no-print-directory setup-test check-code unit payload guests fuzz
	$(step) 'guests, three times' guest-tests/guests.sh -count=3 -timeout 6h
	@guest-tests/step.sh --summary

check-code:
	$(step) 'gofmt' guest-tests/gofmt.sh
	$(step) 'go vet' go vet ./...
	$(step) 'staticcheck' go run $(STATICCHECK) ./...

unit:
	$(step) 'unit tests, race detector' env CGO_ENABLED=1 go test -race -vet=off -timeout 60m $(UNIT)

payload:
	$(step) 'guests: programs and SeaBIOS' guest-tests/payload.sh

guests:
	$(step) 'guests: stock kernels' guest-tests/guests.sh -timeout $(GUEST_LIMIT)

fuzz:
	$(step) 'fuzzing' guest-tests/fuzz.sh 60s

bench: build ## benchmarks, and tables of govmm beside QEMU and its tools
	@go test -run '^$$' -bench . -benchmem $(UNIT)
	@go run ./internal/cmd/imgbench
	@go run ./internal/cmd/devbench
	@go run ./internal/cmd/bootbench

lint: check-code ## gofmt, go vet, staticcheck, and golangci-lint and shellcheck where installed
	@if command -v golangci-lint >/dev/null; then golangci-lint run; fi
	@if command -v shellcheck >/dev/null; then shellcheck guest-tests/*.sh .ci/run; fi

fmt: ## format the source
	@go list -f '{{.Dir}}' ./... | xargs gofmt -w

clean: ## remove what was built and fetched
	@rm -rf bin build
