#!/bin/bash
# Runs a Python script from scripts/bench in the environment of scripts/env.sh. Before that it installs matplotlib into
# .venv, which only these scripts need. The script itself installs the peers into the user's cache.
set -euo pipefail
cd "$(dirname "$0")/.."
eval "$(scripts/env.sh)"

if ! cmp -s scripts/bench/requirements.txt .venv/bench-requirements.txt; then
    echo "bench: installing matplotlib into .venv"
    .venv/bin/pip install -q --disable-pip-version-check -r scripts/bench/requirements.txt
    cp scripts/bench/requirements.txt .venv/bench-requirements.txt
fi
script=$1
shift
exec .venv/bin/python "scripts/bench/$script.py" "$@"
