#!/bin/bash
# Runs the tests of the native clients for Python and Go, the longest of them against three real nodes, and checks that
# the generated stubs in the tree are those of proto/: `make test-native-clients`. It installs gRPC's packages into the
# user's cache. Without Go, the Go client is skipped, and the script says so.
set -euo pipefail
cd "$(dirname "$0")/.."
eval "$(scripts/env.sh)"
export ANABRANCH_BIN="$CARGO_TARGET_DIR/release/anabranch"

cache=${XDG_CACHE_HOME:-$HOME/.cache}/anabranch/clients
python=$cache/python-venv
if ! cmp -s clients/python/pyproject.toml "$python/pyproject.toml"; then
    echo "native-clients: installing gRPC for Python into $python"
    rm -rf "$python"
    python3 -m venv "$python"
    "$python/bin/pip" install -q --disable-pip-version-check pytest grpcio protobuf
    cp clients/python/pyproject.toml "$python/pyproject.toml"
fi
clients/python/generate.sh --check
(cd clients/python && PYTHONPATH=$PWD "$python/bin/python" -B -m pytest -q)
echo "native-clients: python: passed"

if ! command -v go >/dev/null 2>&1; then
    echo "native-clients: go: SKIPPED, not installed: go"
    exit 0
fi
clients/go/generate.sh --check
(cd clients/go && go vet ./... && go test ./...)
echo "native-clients: go: passed"
