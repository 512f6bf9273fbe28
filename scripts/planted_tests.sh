#!/bin/bash
# Checks that tests find the planted bugs (crates/planted). For each bug there is a line with a test. The test must pass
# without the bug and fail with it. Both runs use one build with the feature planted-bugs. Arguments name bugs to check
# (default: all). The first run compiles the tests of nine crates again.
set -uo pipefail
cd "$(dirname "$0")/.."
eval "$(scripts/env.sh)"

# bug, package, target, test
tests="
ack-before-fsync storage --test=it power_loss::a_power_loss_loses_no_reported_write
open-children-early shard --lib state::tests::only_the_job_that_made_a_child_opens_it
serve-uncommitted replica --test=it leadership::an_entry_that_no_majority_has_is_not_read
forget-window replica --test=it duplicates::a_retry_gets_the_result_of_the_first_attempt
repropose-on-timeout client --lib shard_call::tests::after_an_unknown_outcome_a_batch_is_sent_again_under_its_name_or_not_at_all
drop-tail storage --test=it damage::two_damaged_entries_of_the_unindexed_tail_are_both_repaired
lease-after-pause replica --test=it leadership::a_cut_off_leader_answers_no_request_that_needs_the_leader
follower-tip replica --test=it leadership::only_the_leader_reports_the_tip
keep-identity catalog --lib nodes::tests::a_wiped_disk_gets_new_replica_ids
trim-by-wall-clock replica --test=it clocks::a_leader_whose_clock_is_a_day_ahead_trims_and_hides_nothing_and_stops_leading
stale-catalog kinesis --test=it newest::control_operations_show_every_change_that_was_acknowledged_before
keep-revoked kinesis --test=it access::a_disabled_or_deleted_key_is_unknown
forget-vote replica --test=it suite::the_simulated_store_passes_openrafts_suite
reorder-batch replica --test=it batching::each_of_many_concurrent_callers_gets_the_position_of_its_record
"

run() { # bug, package, target, test
    ANABRANCH_PLANTED_BUG=$1 cargo test --release -q -p "anabranch-$2" --features anabranch-planted/planted-bugs \
        "$3" -- --exact "$4" 2>&1
}

failed=0
while read -r bug package target test; do
    case " $* " in "  " | *" $bug "*) ;; *) continue ;; esac
    without=$(run "" "$package" "$target" "$test")
    with=$(run "$bug" "$package" "$target" "$test")
    if ! grep -q '^test result: ok. 1 passed' <<<"$without"; then
        printf '%s\n%s: FAILED without the bug: %s\n' "$without" "$bug" "$test"
        failed=1
    elif ! grep -q '^test result: FAILED. 0 passed; 1 failed' <<<"$with"; then
        printf '%s\n%s: NOT FOUND by %s\n' "$with" "$bug" "$test"
        failed=1
    else
        echo "$bug: found by $test"
    fi
done < <(grep . <<<"$tests")
exit "$failed"
