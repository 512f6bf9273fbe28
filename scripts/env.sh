#!/bin/sh
# Sets the environment that cargo needs here. `scripts/env.sh COMMAND...` runs a command in this environment.
# `eval "$(scripts/env.sh)"` sets it in your shell. Variables that are already set keep their values.
set -eu

cache=${XDG_CACHE_HOME:-$HOME/.cache}/anabranch

# All clones and all commands share one build, because RocksDB's C++ takes ten minutes on two cores.
export CARGO_TARGET_DIR="${CARGO_TARGET_DIR:-$cache/target}"
# bindgen reads RocksDB's header with libclang, and rebuilds when this path changes. So libclang is in the cache, not in
# the clone.
export LIBCLANG_PATH="${LIBCLANG_PATH:-$cache/libclang-18.1.1/clang/native}"
# The libclang from PyPI contains no headers. stddef.h and similar headers come from the compiler.
export BINDGEN_EXTRA_CLANG_ARGS="${BINDGEN_EXTRA_CLANG_ARGS:--I$(${CC:-cc} -print-file-name=include)}"

# The compiled library of RocksDB, once scripts/rocksdb.sh has made it.
lock=$(dirname "$0")/../Cargo.lock
version=$(sed -n '/^name = "librocksdb-sys"/{n;s/version = "\(.*\)"/\1/p;}' "$lock")
export ANABRANCH_ROCKSDB="$cache/librocksdb-$version"
if [ -e "$ANABRANCH_ROCKSDB/librocksdb.a" ]; then
    export ROCKSDB_LIB_DIR="${ROCKSDB_LIB_DIR:-$ANABRANCH_ROCKSDB}"
    export ROCKSDB_STATIC="${ROCKSDB_STATIC:-1}"
fi

if [ $# -gt 0 ]; then
    exec "$@"
fi
for name in CARGO_TARGET_DIR LIBCLANG_PATH BINDGEN_EXTRA_CLANG_ARGS ANABRANCH_ROCKSDB ROCKSDB_LIB_DIR ROCKSDB_STATIC; do
    eval "[ -z \"\${$name:-}\" ]" || eval "printf \"export %s='%s'\\n\" $name \"\$$name\""
done
