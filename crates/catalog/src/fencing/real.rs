//! Shards of the model behave as real shards do. Otherwise the search would say nothing about the real ones.

use anabranch_shard::{Command as Real, Outcome, ShardState, Step};
use anabranch_types::Timestamp;
use bytes::Bytes;
use proptest::prelude::*;

use super::Rules;
use super::shard::{Answer, Command, ShardModel, step};

fn real(command: Command) -> Real {
    match command {
        Command::Append => {
            let arrival = Timestamp::from_millis(1);
            Real::Append { arrival, records: 1, batch: Bytes::new() }
        }
        Command::Freeze(job) => Real::Reshard(Step::Freeze(job)),
        Command::Unfreeze(job) => Real::Reshard(Step::Unfreeze(job)),
        Command::Open(job) => Real::Reshard(Step::Open(job)),
        Command::Close(job) => Real::Reshard(Step::Close(job)),
    }
}

fn command() -> impl Strategy<Value = Command> {
    let job = 1u64..5;
    prop_oneof![
        3 => Just(Command::Append),
        2 => job.clone().prop_map(Command::Freeze),
        2 => job.clone().prop_map(Command::Unfreeze),
        1 => job.clone().prop_map(Command::Open),
        1 => job.prop_map(Command::Close),
    ]
}

proptest! {
    #[test]
    fn a_real_shard_answers_as_the_model_does(
        born in 0u64..3,
        commands in proptest::collection::vec(command(), 0..60),
    ) {
        let mut model =
            if born == 0 { ShardModel::first() } else { ShardModel::child_of(born) };
        let mut shard = ShardState::born(born);
        for (index, command) in (1..).zip(commands) {
            let answer = step(&mut model, command, &Rules::ALL);
            let outcome = shard.apply(index, &real(command));
            let gate = shard.gate();
            prop_assert_eq!((gate.hidden, gate.closed), (model.hidden, model.closed));
            prop_assert_eq!(gate.job, model.job);
            if !gate.closed {
                prop_assert_eq!(gate.frozen_by(), model.frozen_by);
            }
            match (answer, outcome) {
                (Answer::Appended(_), Outcome::Appended { .. })
                | (Answer::Refused, Outcome::Refused(_))
                | (Answer::Stale | Answer::Done, Outcome::Stale | Outcome::Stepped) => {}
                (Answer::Frozen(last), Outcome::Frozen(ending)) => {
                    prop_assert_eq!(ending.last_record.is_some(), last > 0);
                }
                (answer, outcome) => prop_assert!(false, "{answer:?} against {outcome:?}"),
            }
        }
    }
}
