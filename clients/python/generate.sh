#!/bin/bash
# Generates the gRPC stubs of the Python client from the .proto files into anabranch/_proto.
#   generate.sh           writes them
#   generate.sh --check   fails if the stubs in the tree differ from newly generated ones
set -euo pipefail
cd "$(dirname "$0")"

# The stubs need at least these versions at run time: pyproject.toml must require them.
grpc=1.72.2
protobuf=6.30.2

stubs=anabranch/_proto
protos=(anabranch/v1/log.proto anabranch/catalog/v1/catalog.proto anabranch/consumer/v1/consumer.proto)
venv=${XDG_CACHE_HOME:-$HOME/.cache}/anabranch/python-stubs-$grpc-$protobuf

if [ ! -e "$venv/complete" ]; then
    echo "generate: installing grpcio-tools $grpc into $venv"
    rm -rf "$venv"
    python3 -m venv "$venv"
    "$venv/bin/pip" install -q --disable-pip-version-check \
        "grpcio-tools==$grpc" "grpcio==$grpc" "protobuf==$protobuf"
    touch "$venv/complete"
fi

new=$(mktemp -d)
trap 'rm -rf "$new"' EXIT
mkdir "$new/raw" "$new/stubs"
"$venv/bin/python" -m grpc_tools.protoc -I ../../proto \
    --python_out="$new/raw" --pyi_out="$new/raw" --grpc_python_out="$new/raw" "${protos[@]}"

# protoc imports stubs by their full path, anabranch.v1.log_pb2. In the package they are neighbours. The first lines
# keep ruff from checking and formatting them.
find "$new/raw" -name '*_pb2*' | while read -r file; do
    name=$(basename "$file")
    { printf '# ruff: noqa\n# fmt: off\n'; cat "$file"; } |
        sed -E 's/^from anabranch\.[a-z0-9.]+ import ([a-z]+_pb2) as /from . import \1 as /' >"$new/stubs/$name"
done
rm -f "$new/stubs/catalog_pb2_grpc.py" # catalog.proto has no service
echo '"""Stubs that generate.sh made from the .proto files. Do not edit."""' >"$new/stubs/__init__.py"

if [ "${1:-}" = --check ]; then
    if ! diff -r --exclude __pycache__ "$stubs" "$new/stubs" >&2; then
        echo "generate: the stubs are not those of the .proto files: run clients/python/generate.sh" >&2
        exit 1
    fi
    echo "generate: the stubs are those of the .proto files"
else
    rm -rf "$stubs"
    cp -r "$new/stubs" "$stubs"
    echo "generate: wrote $stubs"
fi
