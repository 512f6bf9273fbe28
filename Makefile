# All commands for people and for the CI. `make` without an argument lists them.
# All commands use one profile (--release), and all clones share one cache: see scripts/env.sh.

ENV := scripts/env.sh
CARGO := $(ENV) cargo
PYTHON := .venv/bin/python
ARGS ?=

.DEFAULT_GOAL := help
.PHONY: help setup build dist dist-bench test test-clients test-native-clients package-client guard guard-record demo dev fuzz sim bench curves limits costs outages handover tables delivery scaling chaos chaos-planted chaos-campaign soak lint audit fix

help: ## Show this list
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/  make \1\t\2/p' $(MAKEFILE_LIST) | expand -t 22

setup: ## Install what is missing: .venv with the AWS clients, libclang
	@scripts/setup.sh

build: setup ## Build the binaries anabranch and anabranch-bench (ten minutes the first time, most of it RocksDB)
	@scripts/build.sh

dist: setup ## Build the binary to deploy, which uses a fifth less CPU than `make build`
	@scripts/build.sh dist anabranch

# What the benchmarks run: the binary to deploy, and the load generator of the same profile.
dist-bench: setup
	@scripts/build.sh dist anabranch anabranch-bench

test: setup ## Run all tests: cargo's, then the real AWS clients against real processes
	@scripts/test.sh

test-clients: build ## Run AWS SDKs, the Kinesis Client Library, producers and connectors against three nodes (ARGS="java kcl kpl" for only these)
	@.venv/bin/python scripts/test_clients.py $(ARGS)
	@$(if $(ARGS),,scripts/native_clients.sh)

test-native-clients: build ## Run the native clients for Python and Go against three nodes
	@scripts/native_clients.sh

package-client: setup ## Package the native client with the crates that it needs, and build it from the packages alone
	@scripts/package_client.sh

guard: setup ## Compare instructions and allocations of the hot path with scripts/guard.json (ARGS="part of a test's name")
	@scripts/setup.sh valgrind
	@$(ENV) $(PYTHON) scripts/guard.py $(ARGS)

guard-record: setup ## Count instructions and allocations, and write them into scripts/guard.json
	@scripts/setup.sh valgrind
	@$(ENV) $(PYTHON) scripts/guard.py --record $(ARGS)

fuzz: setup ## Fuzz the code that reads bytes from outside, ten seconds per target (ARGS="--seconds 600 catalog")
	@$(CARGO) run --release -q -p anabranch-fuzz -- $(ARGS)

sim: setup ## Simulate clusters under faults, a thousand seeds (ARGS="--seeds 1..101", or "--seed 7 --trace")
	@scripts/sim.sh run $(ARGS)

demo: build ## Run three nodes with a real data set, kill a leader, check every record
	@$(ENV) $(PYTHON) scripts/demo.py $(ARGS)

dev: build ## Run one node on 127.0.0.1:4567 (ARGS="--nodes 3" for three)
	@$(ENV) sh -c 'exec "$$CARGO_TARGET_DIR/release/anabranch" dev $(ARGS)'

bench: dist-bench ## Measure Anabranch and its peers: half an hour (ARGS="--rounds 1 --only nats,3 nodes")
	@scripts/bench.sh peers $(ARGS)

curves: dist-bench ## Measure how it scales, and draw plots (ARGS="--rounds 1 --seconds 1")
	@scripts/bench.sh curves $(ARGS)

limits: dist-bench ## Measure a thousand idle shards, minutes of overload, a thousand slow readers
	@scripts/bench.sh limits $(ARGS)

costs: dist-bench ## Count the system calls, copies and sleeps of a record (root, perf)
	@scripts/bench.sh costs $(ARGS)

outages: dist ## Measure how long clients notice each kind of fault of another node (root; ARGS="--faults 3 --only stopped")
	@scripts/bench.sh outages $(ARGS)

handover: build ## Measure how long a function mapping pauses when its node is lost, hangs, stops or is drained (ARGS="--trials 2")
	@scripts/bench.sh handover $(ARGS)

delivery: build ## Measure what delivery streams cost (ARGS="--rounds 1")
	@scripts/bench.sh delivery $(ARGS)

tables: build ## Measure what tables and leases cost (ARGS="--rounds 1")
	@scripts/bench.sh tables $(ARGS)

scaling: setup ## Simulate how on-demand streams follow their load, and draw a plot: seconds
	@scripts/bench.sh scaling $(ARGS)

chaos: build ## Run a cluster under faults, check every promise, write a report (without root: fewer faults; SEED= MINUTES= NODES= FAULTS= WORKLOADS=; ARGS=help lists)
	@scripts/chaos.sh $(or $(ARGS),run)

chaos-planted: build ## Run servers with planted bugs: the chaos harness must find each (root; BUGS=name for one)
	@scripts/chaos.sh planted

chaos-campaign: build ## Run one seed after the other, add a line for each to docs/reliability.jsonl (root; RUNS= HOURS=)
	@scripts/chaos.sh campaign

soak: build ## Run for hours; memory, descriptors, threads and disks must stay flat (root; HOURS=4)
	@scripts/chaos.sh soak

lint: setup ## Check with Clippy, ruff, formatting, documentation, licences and sources of the dependencies
	@scripts/lint.sh

audit: ## Check dependencies against known advisories, from ADVISORY_DB=DIR or fetched; fails if neither works
	@scripts/audit.sh

fix: setup ## Let Clippy, rustfmt and ruff fix what they can fix by themselves
	@$(CARGO) clippy --release --workspace --all-targets --fix --allow-dirty --allow-staged
	@$(CARGO) fmt --all
	@.venv/bin/ruff check --no-cache --fix scripts tests
	@.venv/bin/ruff format --no-cache scripts tests
