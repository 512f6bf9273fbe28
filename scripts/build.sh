#!/bin/bash
# Builds the binary in the environment of scripts/env.sh, with cargo's own progress.
set -euo pipefail
cd "$(dirname "$0")/.."
eval "$(scripts/env.sh)"

if ! compgen -G "$CARGO_TARGET_DIR/release/build/librocksdb-sys-*/out/librocksdb.a" >/dev/null; then
    echo "build: the first build compiles RocksDB's C++: about ten minutes on two cores, once for all clones and commands"
fi
exec cargo build --release --workspace --bins
