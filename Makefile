# Everything a person or the CI does with this tree. `make` alone lists the commands.
# One profile for all of it (--release) and one cache for all clones: see scripts/env.sh.

ENV := scripts/env.sh
CARGO := $(ENV) cargo
PYTHON := .venv/bin/python
ARGS ?=

.DEFAULT_GOAL := help
.PHONY: help setup build dist dist-bench test test-clients guard guard-record demo dev fuzz bench curves limits costs outages scaling lint audit fix

help: ## This list
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/  make \1\t\2/p' $(MAKEFILE_LIST) | expand -t 22

setup: ## Install what is missing: .venv with the AWS clients, libclang
	@scripts/setup.sh

build: setup ## Build the binaries anabranch and anabranch-bench (ten minutes the first time, most of it RocksDB)
	@scripts/build.sh

dist: setup ## The binary to deploy: a fifth less CPU than `make build`
	@scripts/build.sh dist anabranch

# What the benchmarks run: the binary to deploy, and the load generator of the same profile.
dist-bench: setup
	@scripts/build.sh dist anabranch anabranch-bench

test: setup ## All tests: cargo's, then the real AWS clients against real processes
	@scripts/test.sh

test-clients: build ## The AWS SDKs of five languages against three nodes (ARGS="java go" for some)
	@.venv/bin/python scripts/test_clients.py $(ARGS)

guard: setup ## Instructions and allocations of the hot path against scripts/guard.json (ARGS="part of a test's name")
	@scripts/setup.sh valgrind
	@$(ENV) $(PYTHON) scripts/guard.py $(ARGS)

guard-record: setup ## Write what is counted now into scripts/guard.json
	@scripts/setup.sh valgrind
	@$(ENV) $(PYTHON) scripts/guard.py --record $(ARGS)

fuzz: setup ## Feed what reads bytes from outside, ten seconds a target (ARGS="--seconds 600 catalog")
	@$(CARGO) run --release -q -p anabranch-fuzz -- $(ARGS)

demo: build ## Three nodes, a real data set, a killed leader, every record checked
	@$(ENV) $(PYTHON) scripts/demo.py $(ARGS)

dev: build ## One node on 127.0.0.1:4567 (ARGS="--nodes 3" for three)
	@$(ENV) sh -c 'exec "$$CARGO_TARGET_DIR/release/anabranch" dev $(ARGS)'

bench: dist-bench ## Beside the peers: half an hour (ARGS="--rounds 1 --only nats,3 nodes")
	@scripts/bench.sh peers $(ARGS)

curves: dist-bench ## How it scales, as plots (ARGS="--rounds 1 --seconds 1")
	@scripts/bench.sh curves $(ARGS)

limits: dist-bench ## A thousand idle shards, minutes of overload, a thousand slow readers
	@scripts/bench.sh limits $(ARGS)

costs: dist-bench ## System calls, copies and sleeps of a record, counted (root, perf)
	@scripts/bench.sh costs $(ARGS)

outages: dist ## How long clients notice a fault of another node, by kind of fault (root; ARGS="--faults 3 --only stopped")
	@scripts/bench.sh outages $(ARGS)

scaling: setup ## How on-demand streams follow their load, simulated, as a plot: seconds
	@scripts/bench.sh scaling $(ARGS)

lint: setup ## Clippy, ruff, formatting, documentation, licences and sources of the dependencies
	@scripts/lint.sh

audit: ## Dependencies against known advisories: of ADVISORY_DB=DIR, or fetched; fails if there are none to be had
	@scripts/audit.sh

fix: setup ## Let Clippy, rustfmt and ruff repair what they can
	@$(CARGO) clippy --release --workspace --all-targets --fix --allow-dirty --allow-staged
	@$(CARGO) fmt --all
	@.venv/bin/ruff check --no-cache --fix scripts tests
	@.venv/bin/ruff format --no-cache scripts tests
