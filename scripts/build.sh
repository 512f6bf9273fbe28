#!/bin/bash
# Builds the binary in the environment of scripts/env.sh and shows cargo's progress. The argument is the profile.
set -euo pipefail
cd "$(dirname "$0")/.."
eval "$(scripts/env.sh)"

exec cargo build --profile "${1:-release}" --workspace --bins
