#!/bin/bash
# Builds, runs, tests or lints the simulation (sim/). It has a target directory of its own, because it builds every crate
# with another compiler flag. RocksDB's library is the one that all builds share.
#
#   scripts/sim.sh run ARGS…           runs the program `sim` (`--help` lists its arguments)
#   scripts/sim.sh planted BUG ARGS…   the same with a bug of crates/planted, which it must find
#   scripts/sim.sh test                runs the tests
#   scripts/sim.sh test-planted        checks that it finds the bugs of crates/planted
#   scripts/sim.sh lint                checks format and Clippy
set -euo pipefail
cd "$(dirname "$0")/../sim"
unset RUSTFLAGS # it would override sim/.cargo/config.toml, and runs of one seed would differ
CARGO_TARGET_DIR=${SIM_TARGET_DIR:-${XDG_CACHE_HOME:-$HOME/.cache}/anabranch/sim-target}
export CARGO_TARGET_DIR
eval "$(../scripts/env.sh)"

what=${1:?run, planted, test, test-planted or lint}
shift
case $what in
run) exec cargo run --release -q -- "$@" ;;
planted)
    export ANABRANCH_PLANTED_BUG=${1:?a bug}
    shift
    exec cargo run --release -q --features planted-bugs -- "$@"
    ;;
test) exec cargo test --release "$@" ;;
test-planted) exec cargo test --release --features planted-bugs planted ;;
lint)
    cargo fmt --check
    exec cargo clippy --release --all-targets -- -D warnings
    ;;
*)
    echo "sim: not known: $what" >&2
    exit 2
    ;;
esac
