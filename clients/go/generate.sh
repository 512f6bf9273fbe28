#!/bin/sh
# Generates the gRPC stubs in internal/pb from the .proto files of this repository. With --check it changes nothing, and
# fails if the stubs in the tree differ from new ones. The tools are installed into the user's cache at the first run.
set -eu
cd "$(dirname "$0")"

grpcio_tools=1.85.1
protoc_gen_go=v1.36.12
protoc_gen_go_grpc=v1.6.2

tools=${XDG_CACHE_HOME:-$HOME/.cache}/anabranch/go-stubs-$grpcio_tools-$protoc_gen_go-$protoc_gen_go_grpc
if [ ! -e "$tools/complete" ]; then
    rm -rf "$tools"
    python3 -m venv "$tools/venv"
    "$tools/venv/bin/pip" install --quiet --disable-pip-version-check "grpcio-tools==$grpcio_tools"
    GOBIN=$tools/bin go install "google.golang.org/protobuf/cmd/protoc-gen-go@$protoc_gen_go"
    GOBIN=$tools/bin go install "google.golang.org/grpc/cmd/protoc-gen-go-grpc@$protoc_gen_go_grpc"
    touch "$tools/complete"
fi

# The .proto files name no Go packages. Each of these lines maps a file to its package.
module=anabranch/clients/go
set -- "${1:-}" \
    "Manabranch/v1/log.proto=$module/internal/pb/logpb" \
    "Manabranch/catalog/v1/catalog.proto=$module/internal/pb/catalogpb" \
    "Manabranch/consumer/v1/consumer.proto=$module/internal/pb/consumerpb"
mode=$1
shift
packages=$(IFS=,; echo "$*")

new=$(mktemp -d)
trap 'rm -rf "$new"' EXIT
PATH=$tools/bin:$PATH "$tools/venv/bin/python" -m grpc_tools.protoc -I ../../proto \
    --go_out="$new" --go_opt="module=$module,$packages" \
    --go-grpc_out="$new" --go-grpc_opt="module=$module,$packages" \
    anabranch/v1/log.proto anabranch/catalog/v1/catalog.proto anabranch/consumer/v1/consumer.proto

case $mode in
--check) diff -r internal/pb "$new/internal/pb" || { echo "run clients/go/generate.sh" >&2; exit 1; } ;;
*) rm -rf internal/pb && mkdir -p internal && cp -r "$new/internal/pb" internal/pb ;;
esac
