#!/bin/bash
# Builds binaries in the environment of scripts/env.sh, with cargo's own progress. The first argument is the profile
# (default: release), the others are the packages to build (default: all of the workspace).
#
# `scripts/build.sh planted` builds the binary anabranch-planted instead: the server with the bugs that the chaos harness
# must find (crates/planted). The binary anabranch stays as it is.
set -euo pipefail
cd "$(dirname "$0")/.."
eval "$(scripts/env.sh)"

if [ "${1:-}" = planted ]; then
    exec cargo build --release --workspace --features anabranch/planted-bugs --bin anabranch-planted
fi
packages=()
for package in "${@:2}"; do
    packages+=(--package "$package")
done
if [ ${#packages[@]} -eq 0 ]; then
    packages=(--workspace)
fi
exec cargo build --profile "${1:-release}" "${packages[@]}" --bins
