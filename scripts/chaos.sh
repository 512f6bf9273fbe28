#!/bin/bash
# Runs the chaos harness of jepsen/ against the release binary. The first argument is what to do, the others go to the
# harness:
#
#   run       one run with the variables SEED, MINUTES, NODES, FAULTS, WORKLOADS, OUT
#   planted   every planted bug must be found (BUGS=name for one)
#   campaign  many runs, each adds a line to docs/reliability.jsonl (RUNS, HOURS)
#   results   prints the lines of the campaign as tables
#   soak      hours of load, and nothing may grow (HOURS)
#   short     what CI runs: the harness's own tests, one run of a minute, and with root some planted bugs
#   check     judges a history again: the file history.jsonl of a run
#   help      lists all faults and workloads
#
# Without root, /dev/net/tun or loop devices, a run uses loopback addresses behind a fault proxy, and has fewer faults.
set -euo pipefail
cd "$(dirname "$0")/.."
eval "$(scripts/env.sh)"

fail() { printf 'chaos: %s\n' "$*" >&2; exit 1; }
# need COMMAND PACKAGE: installs a Debian package if its command is missing.
need() {
    command -v "$1" >/dev/null 2>&1 && return
    [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null || fail "no $1 found: install the package $2"
    echo "chaos: installing Debian's $2"
    { apt-get update && DEBIAN_FRONTEND=noninteractive apt-get install -y --no-install-recommends "$2"; } >/dev/null
}
has_root() { [ "$(id -u)" = 0 ] && [ -e /dev/net/tun ] && [ -e /dev/loop-control ]; }
if has_root; then
    need ip iproute2
    need mkfs.ext4 e2fsprogs
fi
need setpriv util-linux

cache=${XDG_CACHE_HOME:-$HOME/.cache}/anabranch
harness_target=${CHAOS_TARGET_DIR:-$cache/chaos-target}
server=$CARGO_TARGET_DIR/release/anabranch
harness=$harness_target/release/chaos
out=${OUT:-chaos-results}
harness_cargo() { CARGO_TARGET_DIR=$harness_target cargo "$1" --release --manifest-path jepsen/Cargo.toml "${@:2}"; }
# The verdict `unknown` (code 2) is no broken promise: the machine was too busy, or a fault had no effect.
not_invalid() { local code=0; "$@" || code=$?; [ "$code" = 0 ] || [ "$code" = 2 ]; }

harness_cargo build -q
command=$1
shift
case "$command" in
    help) exec "$harness" --help ;;
    check | results) exec "$harness" "$command" "$@" ;;
    run)
        exec "$harness" run --binary "$server" --out "$out" --seed "${SEED:-1}" --minutes "${MINUTES:-10}" \
            --nodes "${NODES:-3}" --faults "${FAULTS:-default}" --workloads "${WORKLOADS:-all}" "$@"
        ;;
    planted)
        scripts/build.sh planted
        exec "$harness" planted --binary "$server-planted" --out "$out/planted" --bugs "${BUGS:-all}" "$@"
        ;;
    campaign)
        exec "$harness" campaign --binary "$server" --out "$out/campaign" --runs "${RUNS:-20}" \
            --hours "${HOURS:-24}" "$@"
        ;;
    soak)
        minutes=$(awk "BEGIN { print ${HOURS:-4} * 60 }")
        exec "$harness" soak --binary "$server" --out "$out/soak" --minutes "$minutes" --nodes "${NODES:-3}" \
            --faults "${FAULTS:-leader-transfer,reshard,rolling-restart}" \
            --workloads "${WORKLOADS:-retention,catalog,access}" "$@"
        ;;
    short)
        harness_cargo test -q
        if has_root; then scripts/build.sh planted; fi
        not_invalid "$harness" run --binary "$server" --out "$out/short" --seed "${SEED:-1}" --minutes 1
        if ! has_root; then
            echo "chaos: NOT RUN: planted bugs, because some need a disk that loses its power, and so root"
            exit 0
        fi
        exec "$harness" planted --binary "$server-planted" --out "$out/planted" --bugs short
        ;;
    *) fail "there is no command $command" ;;
esac
