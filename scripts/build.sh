#!/bin/bash
# Builds binaries in the environment of scripts/env.sh, with cargo's own progress. The first argument is the profile
# (default: release), the others are the packages to build (default: all of the workspace).
set -euo pipefail
cd "$(dirname "$0")/.."
eval "$(scripts/env.sh)"

packages=()
for package in "${@:2}"; do
    packages+=(--package "$package")
done
if [ ${#packages[@]} -eq 0 ]; then
    packages=(--workspace)
fi
exec cargo build --profile "${1:-release}" "${packages[@]}" --bins
