//! Watchers that move between replicas, against the model of `model.rs`.
//!
//! The replicas apply one random log, each at its own pace, start again from checkpoints, and take snapshots of each
//! other. A watcher takes pages, loses its connection at any moment, also with pages that are not complete, and goes on
//! at another replica. Whenever its copy shows a version, it must have exactly the rows of that version.

use std::collections::BTreeMap;

use bytes::Bytes;
use proptest::collection::vec;
use proptest::prelude::*;

use crate::command::Command;
use crate::model::{LIMITS, Model, restored, run, steps};
use crate::row::{Row, SpaceId, Version};
use crate::row_copy::RowCopy;
use crate::state::TableState;
use crate::watch::{Next, Watched, WatchedRange, Watcher};

const REPLICAS: usize = 3;

#[derive(Clone, Debug)]
enum Event {
    /// A replica applies some entries.
    Apply { replica: usize, entries: usize },
    /// A replica starts again. Its watchers lose their connections.
    Restart { replica: usize },
    /// A replica takes the state of another one, if that is newer. Its watchers stay.
    Install { replica: usize, of: usize },
    /// A watcher takes some pages, from `replica` if it has no connection.
    Take { watcher: usize, replica: usize, pages: usize },
    /// A watcher loses its connection.
    Lose { watcher: usize },
}

fn events() -> impl Strategy<Value = Vec<Event>> {
    let replica = || 0..REPLICAS;
    let event = prop_oneof![
        6 => (replica(), 1usize..6)
            .prop_map(|(replica, entries)| Event::Apply { replica, entries }),
        1 => replica().prop_map(|replica| Event::Restart { replica }),
        1 => (replica(), replica()).prop_map(|(replica, of)| Event::Install { replica, of }),
        12 => (0usize..8, replica(), 1usize..4)
            .prop_map(|(watcher, replica, pages)| Event::Take { watcher, replica, pages }),
        3 => (0usize..8).prop_map(|watcher| Event::Lose { watcher }),
    ];
    vec(event, 1..200)
}

/// The log, and the model at each version.
struct History {
    log: Vec<(u64, Command)>,
    models: BTreeMap<u64, Model>,
}

impl History {
    fn of(steps: &[crate::model::Step]) -> Self {
        let (mut log, mut models) = (Vec::new(), BTreeMap::from([(0, Model::default())]));
        run(steps, |index, command, _, model| {
            log.push((index, command.clone()));
            models.insert(model.version, model.clone());
        });
        Self { log, models }
    }

    fn at(&self, version: Version) -> &Model {
        self.models.get(&version.as_u64()).expect("a version that the group had")
    }
}

#[derive(Debug)]
struct Replica {
    state: TableState,
    /// Number of entries that it has applied.
    applied: usize,
}

impl Replica {
    fn apply(&mut self, history: &History, entries: usize) {
        for (index, command) in history.log.iter().skip(self.applied).take(entries) {
            self.state.apply(*index, command.clone());
            self.applied += 1;
        }
    }
}

#[derive(Debug)]
struct Client {
    range: WatchedRange,
    page_bytes: usize,
    copy: RowCopy,
    /// The replica that serves it, and what that replica knows of it.
    connection: Option<(usize, Watcher)>,
    is_dropped: bool,
    resets: usize,
}

impl Client {
    fn new(number: usize) -> Self {
        let (space, prefix) = [(1, &b""[..]), (2, b""), (1, b"a"), (3, b"")][number % 4];
        Self {
            range: WatchedRange { space: SpaceId(space), prefix: Bytes::from_static(prefix) },
            page_bytes: if number < 4 { 300 } else { 1 },
            copy: RowCopy::default(),
            connection: None,
            is_dropped: false,
            resets: 0,
        }
    }

    /// Takes a page, from `replica` if it has no connection. Says whether there was one.
    fn take(&mut self, replicas: &[Replica], replica: usize, history: &History) -> bool {
        if self.is_dropped {
            return false;
        }
        let shown = self.copy.version();
        let connect = || (replica, Watcher::new(self.range.clone(), shown));
        let (serving, watcher) = self.connection.get_or_insert_with(connect);
        let page = match watcher.next(&replicas[*serving].state, self.page_bytes) {
            Next::Nothing(_) => return false,
            Next::Behind => {
                self.connection = None;
                self.copy.break_off();
                return false;
            }
            Next::Tell(Watched::Dropped { version }) => {
                assert!(!history.at(version).has_space(self.range.space));
                self.copy.drop_rows(version);
                self.is_dropped = true;
                return false;
            }
            Next::Tell(Watched::Page(page)) => page,
        };
        self.resets += usize::from(page.is_reset);
        if self.copy.take(page).expect("a replica that is not behind") {
            assert!(self.copy.version() >= shown);
            let expected = history.at(self.copy.version());
            assert_eq!(rows(&self.copy), expected.rows_of(self.range.space.0, &self.range.prefix));
        } else {
            assert_eq!(self.copy.version(), shown);
        }
        true
    }

    fn lose(&mut self) {
        self.connection = None;
        self.copy.break_off();
    }
}

fn rows(copy: &RowCopy) -> BTreeMap<Bytes, Row> {
    copy.rows().iter().map(|(key, row)| (key.clone(), row.clone())).collect()
}

/// Runs the events, and then lets everything reach the end of the log. Returns the number of resets.
fn check(steps: &[crate::model::Step], events: &[Event]) -> usize {
    let history = History::of(steps);
    let replica = |_| Replica { state: TableState::new(LIMITS), applied: 0 };
    let mut replicas: Vec<Replica> = (0..REPLICAS).map(replica).collect();
    let mut clients: Vec<Client> = (0..8).map(Client::new).collect();
    for event in events {
        match *event {
            Event::Apply { replica, entries } => replicas[replica].apply(&history, entries),
            Event::Restart { replica } => {
                replicas[replica].state = restored(&replicas[replica].state, 500);
                let here = |client: &&mut Client| {
                    client.connection.as_ref().is_some_and(|(serving, _)| *serving == replica)
                };
                clients.iter_mut().filter(here).for_each(Client::lose);
            }
            Event::Install { replica, of } if replicas[of].applied > replicas[replica].applied => {
                let (state, applied) = (restored(&replicas[of].state, 500), replicas[of].applied);
                replicas[replica] = Replica { state, applied };
            }
            Event::Install { .. } => {}
            Event::Take { watcher, replica, pages } => {
                for _ in 0..pages {
                    clients[watcher].take(&replicas, replica, &history);
                }
            }
            Event::Lose { watcher } => clients[watcher].lose(),
        }
    }
    replicas.iter_mut().for_each(|replica| replica.apply(&history, usize::MAX));
    let newest = replicas[0].state.version();
    for (number, client) in clients.iter_mut().enumerate() {
        let mut pages = 0;
        while client.take(&replicas, number % REPLICAS, &history) {
            pages += 1;
            assert!(pages < 200, "the watcher does not reach the end");
        }
        let expected = history.at(newest).rows_of(client.range.space.0, &client.range.prefix);
        assert_eq!(rows(&client.copy), expected);
        let is_born = !replicas[0].state.is_unborn(client.range.space);
        assert_eq!(client.is_dropped, is_born && !history.at(newest).has_space(client.range.space));
    }
    clients.iter().map(|client| client.resets).sum()
}

proptest! {
    #[test]
    fn a_copy_that_moves_between_replicas_is_exact_and_never_goes_back(
        steps in steps(),
        events in events(),
    ) {
        check(&steps, &events);
    }
}

/// The random events are of use only if watchers are reset, and also go on without a reset.
#[test]
fn random_watchers_are_reset_now_and_then() {
    use proptest::strategy::ValueTree;
    use proptest::test_runner::TestRunner;
    let (mut runner, mut resets) = (TestRunner::deterministic(), 0);
    for _ in 0..50 {
        let steps = steps().new_tree(&mut runner).unwrap().current();
        let events = events().new_tree(&mut runner).unwrap().current();
        resets += check(&steps, &events);
    }
    assert!((50..2_000).contains(&resets), "{resets} resets of 400 watchers");
}
