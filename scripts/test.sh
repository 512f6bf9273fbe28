#!/bin/bash
# Runs all tests: cargo's, the tests of the scripts, then the tests that drive the release binary with the real AWS
# CLI and boto3. Every step runs, even if an earlier one fails. The last line shows the totals.
set -uo pipefail
cd "$(dirname "$0")/.."
eval "$(scripts/env.sh)"

output=$(mktemp)
trap 'rm -f "$output"' EXIT
failed_step=0

step() {
    echo "test: $*"
    "$@" 2>&1 | tee -a "$output" || failed_step=1
}

scripts/build.sh || exit 1
step cargo test --release --workspace --no-fail-fast
step cargo test --release -p anabranch-planted --features planted-bugs
step scripts/sim.sh test
step .venv/bin/python -m pytest tests/scripts
# The Kinesis Client Library needs Java and Maven, which the setup does not install.
without=()
for program in java javac mvn; do
    if ! command -v "$program" >/dev/null 2>&1; then
        echo "test: the Kinesis Client Library was NOT TESTED, not installed: $program"
        without=(--ignore tests/e2e/test_kcl.py)
    fi
done
step .venv/bin/python -m pytest tests/e2e "${without[@]}"
step scripts/chaos.sh short

# After each binary cargo prints "test result: ok. 3 passed; 0 failed; ...". pytest ends with "==== 3 passed, 1 failed
# in 2.1s".
total() {
    sed 's/\x1b\[[0-9;]*m//g' "$output" | grep -E '^test result: |^=+ .* in [0-9.]+s' |
        grep -oE "[0-9]+ ($1)" | awk '{ sum += $1 } END { print sum + 0 }'
}
passed=$(total passed)
failed=$(total 'failed|error')
[ "$failed_step" = 0 ] || [ "$failed" != 0 ] || failed=1
[ "$passed" != 0 ] || failed=1
echo "tests: $passed passed, $failed failed"
[ "$failed" = 0 ]
