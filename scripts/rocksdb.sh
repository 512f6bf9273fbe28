#!/bin/bash
# Compiles RocksDB's C++ once and keeps the library in the user's cache, where every build finds it (scripts/env.sh).
# Without this, cargo would compile it again for each selection of crates that gives RocksDB's build tools other
# features.
set -euo pipefail
cd "$(dirname "$0")/.."
unset ROCKSDB_LIB_DIR ROCKSDB_STATIC
eval "$(scripts/env.sh)"
[ -z "${ROCKSDB_LIB_DIR:-}" ] || exit 0

target=$(scripts/env.sh sh -c 'echo "$ANABRANCH_ROCKSDB"')
echo "build: compiling RocksDB: about ten minutes on two cores, once for all clones and commands"
work=$target.build
CARGO_TARGET_DIR=$work cargo build --release -p librocksdb-sys
mkdir -p "$target"
cp "$work"/release/build/librocksdb-sys-*/out/librocksdb.a "$target/librocksdb.a.new"
mv "$target/librocksdb.a.new" "$target/librocksdb.a"
rm -rf "$work"
