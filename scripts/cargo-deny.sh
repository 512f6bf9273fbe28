#!/bin/bash
# Prints the path of cargo-deny. If cargo-deny is missing, the script first installs it into the user's cache. The
# build is not optimised: cargo-deny runs for only a second, and this takes a quarter of the compile time.
set -euo pipefail
version=0.20.2
root=${XDG_CACHE_HOME:-$HOME/.cache}/anabranch/cargo-deny-$version

if [ ! -x "$root/bin/cargo-deny" ]; then
    echo "lint: installing cargo-deny $version into $root" >&2
    CARGO_TARGET_DIR=$root/target CARGO_PROFILE_RELEASE_OPT_LEVEL=0 CARGO_PROFILE_RELEASE_LTO=false \
        CARGO_PROFILE_RELEASE_CODEGEN_UNITS=16 CARGO_PROFILE_RELEASE_DEBUG=false \
        cargo install --locked --version "$version" --root "$root" cargo-deny >&2
    rm -rf "$root/target"
fi
echo "$root/bin/cargo-deny"
