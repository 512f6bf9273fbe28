#!/bin/bash
# Builds the binary in the environment of scripts/env.sh, with cargo's own progress.
set -euo pipefail
cd "$(dirname "$0")/.."
eval "$(scripts/env.sh)"

exec cargo build --release --workspace --bins
