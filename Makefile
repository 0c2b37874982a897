# Keysteward: build, run, test. `make` alone lists the targets.

SHELL       := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help

# The revision that `keysteward version` tells; "unknown" without git or commits.
VERSION := $(shell git describe --always --dirty 2>/dev/null || echo unknown)

# BLS and the race detector are C. The version is given by us, so Go need not ask git for it (and
# fail where git distrusts the folder's owner). The same flags for builds and for the linter let
# one build cache serve both: go-ethereum and its kin are compiled once.
export CGO_ENABLED := 1
export GOFLAGS     := $(strip $(filter-out -buildvcs=% -trimpath,$(GOFLAGS)) -buildvcs=false -trimpath)

GOLANGCI := go tool -modfile=scripts/tools/golangci-lint/go.mod golangci-lint

.PHONY: help
help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-15s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

.PHONY: run
run: build ## start three nodes and a development chain until Ctrl-C; ARGS="--api-port 0" adds flags
	@exec bin/keysteward-local --dir .local --examples 2 $(ARGS)

.PHONY: demo
demo: build ## the same in a temporary folder, then stop everything: 0 if all of it worked
	@exec scripts/demo $(ARGS)

.PHONY: build
build: setup ## bin/keysteward and bin/keysteward-local
	@scripts/build '$(VERSION)'

# For each fuzz target in `make test`; `make fuzz` is for longer.
TESTFUZZTIME := 2s

.PHONY: test
test: setup ## run all tests under the race detector, then each fuzz target for a moment
	@scripts/apt-install swtpm swtpm
	@echo "testing (the first time: several minutes, everything is compiled for the race detector)"
	@# Untrimmed like a plain `go test -race ./some/package`, so that both share the build cache.
	@go test -trimpath=false -race -timeout 20m ./...
	@# In full without the race detector, which has nothing to find there and makes all ten times slower.
	@go test -trimpath=false -timeout 10m ./fsm ./node/ethereum
	@echo "fuzzing every target for $(TESTFUZZTIME) (the first time: some minutes more, everything is compiled again)"
	@scripts/fuzz $(TESTFUZZTIME)

.PHONY: lint
lint: setup ## check scripts, generated code, go.mod, style and architecture
	@scripts/shellcheck
	@scripts/generate --check
	@scripts/manifests --check
	@echo "linting (the first time: several minutes, the linter is compiled)"
	@$(GOLANGCI) run
	@$(GOLANGCI) run --build-tags failpoints ./node/failpoint/...
	@$(GOLANGCI) run --build-tags e2e ./cluster/deploy/e2e/...
	@go mod tidy -diff >/dev/null || { echo "go.mod is not tidy: run 'make fix'" >&2; exit 1; }

.PHONY: fix
fix: setup ## format, apply the linter's corrections, tidy go.mod
	@$(GOLANGCI) fmt
	@go mod tidy
	@$(GOLANGCI) run --fix

.PHONY: generate
generate: setup ## write what is generated: from api/openapi.yaml, fsm/fsmpb/fsm.proto, cluster/deploy/chart
	@scripts/generate
	@scripts/manifests

.PHONY: bench
bench: build ## measure; BENCH_JSON=file writes the figures as JSON too; ARGS="--only clouds" measures less
	@BENCH_JSON='$(BENCH_JSON)' scripts/bench $(ARGS)

.PHONY: crash
crash: setup ## kill, pause and cut off leaders in the middle of deposits; RUNS=1 SEED=n POINT=p FAULT=f
	@scripts/crash $(foreach v,RUNS SEED POINT FAULT,$(if $($(v)),--$(shell echo $(v) | tr A-Z a-z) '$($(v))'))

.PHONY: chaos
chaos: setup ## random faults over real processes, histories judged; DURATION=2m SEED=n NODES=3 ONLY=kill,sleep NETWORK=wires
	@scripts/chaos $(foreach v,DURATION SEED NODES ONLY NETWORK,$(if $($(v)),--$(shell echo $(v) | tr A-Z a-z) '$($(v))'))

.PHONY: chaos-broken
chaos-broken: setup ## the test of that: builds that break a promise are caught; BROKEN="term-check" only these
	@scripts/chaos-broken $(BROKEN)

.PHONY: fuzz
fuzz: setup ## run every fuzz target for FUZZTIME (10s)
	@scripts/fuzz '$(or $(FUZZTIME),10s)'

ARCHES := $(or $(ARCH),amd64)

.PHONY: image
image: setup ## container images in bin/image, without registry or daemon; ARCHES="amd64 arm64"
	@scripts/image '$(VERSION)' $(ARCHES)

KUBE_DIR := .kubernetes

.PHONY: kubernetes
kubernetes: setup ## start a Kubernetes API that signs certificates; KUBE_DIR=folder KUBE_PORT=6443
	@scripts/kubernetes up '$(KUBE_DIR)' '$(KUBE_PORT)'

.PHONY: kubernetes-down
kubernetes-down: ## stop it and remove what is left of it; KUBE_DIR=folder
	@scripts/kubernetes down '$(KUBE_DIR)'

NODE_DIR := .node

.PHONY: node
node: setup ## start a whole Kubernetes that runs pods (root, Linux); NODE_DIR=folder NODES=2
	@scripts/node up '$(NODE_DIR)' '$(NODES)'

.PHONY: node-down
node-down: ## stop it and remove all that is left of it; NODE_DIR=folder
	@scripts/node down '$(NODE_DIR)'

.PHONY: e2e
e2e: setup ## bring a node up, install the chart, kill, cut off and drain what can be; E2E_DIR=folder leaves the node
	@scripts/e2e $(if $(E2E_DIR),'$(E2E_DIR)')

.PHONY: setup
setup: ## check that the machine has what is needed
	@scripts/setup

.PHONY: clean
clean: ## remove bin/ and the data of `make run`
	@rm -rf bin .local
