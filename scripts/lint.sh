#!/bin/bash
# Runs all checks that are not tests. Every check runs, even if others fail. The last line names the failed checks.
set -uo pipefail
cd "$(dirname "$0")/.."
eval "$(scripts/env.sh)"

failed=()
check() {
    local name=$1
    shift
    echo "lint: $name: $*"
    "$@" || failed+=("$name")
}

python() {
    .venv/bin/ruff check --no-cache scripts tests clients && .venv/bin/ruff format --no-cache --check scripts tests clients
}

harness() {
    CARGO_TARGET_DIR=${CHAOS_TARGET_DIR:-${XDG_CACHE_HOME:-$HOME/.cache}/anabranch/chaos-target} \
        cargo clippy --release --manifest-path jepsen/Cargo.toml --all-targets -- -D warnings
}

documentation() {
    RUSTDOCFLAGS="-D warnings" cargo doc --release --workspace --no-deps
}

check format cargo fmt --all --check
check python python
check clippy cargo clippy --release --workspace --all-targets -- -D warnings
check planted cargo clippy --release -p anabranch-planted --features planted-bugs --all-targets -- -D warnings
check harness-format cargo fmt --all --check --manifest-path jepsen/Cargo.toml
check harness harness
check simulation scripts/sim.sh lint
check documentation documentation
if deny=$(scripts/cargo-deny.sh); then
    # cargo-deny checks the dependencies of every platform. These are more than a build has downloaded.
    check download cargo fetch --locked
    check dependencies "$deny" --offline check --hide-inclusion-graph bans licenses sources
else
    failed+=("cargo-deny could not be installed")
fi

if [ ${#failed[@]} -gt 0 ]; then
    printf 'lint: FAILED: %s\n' "${failed[*]}"
    exit 1
fi
echo "lint: all checks passed"
