#!/bin/bash
# Packages the native client and the crates that it needs, and builds the client from these packages alone:
# `make package-client`.
set -euo pipefail
cd "$(dirname "$0")/.."
eval "$(scripts/env.sh)"

packages=()
for crate in types metrics planted shard catalog table tls proto transport client; do
    packages+=(--package "anabranch-$crate")
done
exec cargo package --allow-dirty --quiet "${packages[@]}" "$@"
