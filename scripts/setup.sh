#!/bin/sh
# Installs the requirements of the build, the tests and the demo on a fresh Debian or Ubuntu. The AWS clients go into
# .venv, libclang and RocksDB's library into the user's cache. The machine must have a Rust toolchain, a C++ compiler,
# make and Python 3. If everything is installed, the script does nothing. `setup.sh valgrind` installs valgrind, which
# only the cost tests of the hot path need.
set -eu
cd "$(dirname "$0")/.."

say() { printf 'setup: %s\n' "$*"; }
fail() { printf 'setup: %s\n' "$*" >&2; exit 1; }
present() { command -v "$1" >/dev/null 2>&1; }

present cargo || fail "no cargo found: install a Rust toolchain (1.95 or newer) from https://rustup.rs"
present python3 || fail "no python3 found: apt-get install python3"
present g++ || present c++ || fail "no C++ compiler found: apt-get install g++"

# install_package NAME WHY: installs a Debian package, or tells the user how to install it.
install_package() {
    if [ "$(id -u)" = 0 ] && present apt-get; then
        say "installing Debian's $1"
        { apt-get update && DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends "$1"; } \
            >/dev/null || fail "apt-get install $1 failed: run it by hand to see why"
    else
        fail "$2: run  sudo apt-get install $1  and try again"
    fi
}

make_venv() {
    [ -x .venv/bin/pip ] && return
    if ! python3 -c 'import ensurepip, venv' 2>/dev/null; then
        if python3 -m pip --version >/dev/null 2>&1 && python3 -c 'import venv' 2>/dev/null; then
            say "making .venv with the pip that is there"
            python3 -m venv --without-pip .venv && python3 -m pip --python .venv/bin/python install -q pip && return
        fi
        # Some Debian installations have a Python that cannot make virtual environments.
        install_package python3-venv "this Python can make no virtual environment"
    fi
    say "making .venv"
    python3 -m venv .venv
}

# The list of installed packages is kept in .venv, so that a second run has nothing to do.
install_clients() {
    cmp -s scripts/requirements.txt .venv/requirements.txt && return
    say "installing the AWS CLI, boto3, pytest and the demo's data set into .venv (about 20 s)"
    .venv/bin/pip install -q --disable-pip-version-check -r scripts/requirements.txt
    cp scripts/requirements.txt .venv/requirements.txt
}

install_libclang() {
    [ -n "${LIBCLANG_PATH:-}" ] && return
    eval "$(scripts/env.sh)"
    [ -e "$LIBCLANG_PATH/libclang.so" ] && return
    target=${LIBCLANG_PATH%/clang/native}
    version=${target##*/libclang-}
    say "installing libclang $version into $target"
    .venv/bin/pip install -q --disable-pip-version-check --no-deps --target "$target" "libclang==$version"
    [ -e "$LIBCLANG_PATH/libclang.so" ] || fail "no libclang.so in $LIBCLANG_PATH"
}

if [ "${1:-}" = valgrind ]; then
    present valgrind || install_package valgrind "no valgrind found, which counts the instructions of the hot path"
    exit 0
fi

make_venv
install_clients
install_libclang
scripts/rocksdb.sh
