//! Reads: a row, a range of rows, and the changes that a watcher has not seen.
//!
//! How a watcher keeps an exact copy of the rows of a space whose keys have a prefix:
//!
//! ```text
//! since = START, copy = {}
//! loop  changes(space, prefix, since)
//!         Page     write the changes into the copy; since = up_to. If is_complete, the copy is exact as of up_to.
//!         Reset    copy = {}; read all rows with range, page by page; since = version of the first page. Then go on:
//!                  rows that changed during the reading come again as changes.
//!         Ahead    this replica has not applied what the watcher has seen: wait, or ask another replica
//!       UnknownSpace   the space was dropped: stop
//! ```
//!
//! A change has the present contents of its row. So a page that is not complete may leave the copy between two
//! versions: it has some rows as they are now, and lacks others. A watcher that needs whole transactions looks at its
//! copy only after complete pages.

use std::ops::Bound;

use bytes::Bytes;

use crate::row::{Key, Row, SpaceId, Version, row_bytes};
use crate::state::{Space, TableState};

/// The group has no space of that number, or it was dropped.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("space {0} not found")]
pub struct UnknownSpace(pub SpaceId);

/// The keys from `start` up to `end`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct KeyRange {
    /// Lowest key.
    pub start: Bytes,
    /// The keys are below this key. `None`: up to the end of the space.
    pub end: Option<Bytes>,
    /// Whether the highest keys come first.
    pub descending: bool,
}

/// Some rows of a space.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RangePage {
    /// The rows with their keys, in the order of the keys.
    pub rows: Vec<(Bytes, Row)>,
    /// Whether there are more rows behind the last one.
    pub more: bool,
    /// Version of the state that the page shows.
    pub version: Version,
}

/// The changes that a watcher has not seen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Changes {
    /// Changes after `since`.
    Page {
        /// The changes in the order of their versions. If a row changed more than once, only the last change is here.
        /// A row may be deleted twice.
        changes: Vec<Change>,
        /// The watcher's next `since`.
        up_to: Version,
        /// Whether the watcher has seen everything, so that its copy shows the state as of `up_to`. Otherwise it asks
        /// again at once.
        is_complete: bool,
    },
    /// This replica has forgotten changes after `since`. The watcher reads all rows again.
    Reset,
    /// This replica is behind the watcher.
    Ahead {
        /// Version of this replica, below `since`.
        version: Version,
    },
}

/// A change of a row.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change {
    /// Key of the row in its space.
    pub key: Bytes,
    /// Version of the change.
    pub version: Version,
    /// The row, whose version is `version`. `None` if the row was deleted.
    pub row: Option<Row>,
}

impl Change {
    fn bytes(&self) -> u64 {
        row_bytes(&self.key, self.row.as_ref().map_or(&[], |row| &row.value))
    }
}

impl TableState {
    /// The row of `key`. `None` if it does not exist.
    ///
    /// # Errors
    /// [`UnknownSpace`].
    pub fn get(&self, key: &Key) -> Result<Option<&Row>, UnknownSpace> {
        Ok(self.known_space(key.space)?.rows.get(&key.key))
    }

    /// Rows of `space` whose keys begin with `prefix`, in the order of the keys, from the first key that is greater
    /// than `after`. A page has at least one row, if there is one, and otherwise at most `max_bytes` or
    /// [`Limits::page_bytes`](crate::Limits::page_bytes) of rows.
    ///
    /// # Errors
    /// [`UnknownSpace`].
    pub fn range(
        &self,
        space: SpaceId,
        prefix: &[u8],
        after: Option<&[u8]>,
        max_bytes: usize,
    ) -> Result<RangePage, UnknownSpace> {
        let from = match after {
            Some(after) if after >= prefix => Bound::Excluded(after),
            Some(_) | None => Bound::Included(prefix),
        };
        let behind = self.known_space(space)?.rows.range::<[u8], _>((from, Bound::Unbounded));
        let wanted = behind.take_while(|(key, _)| key.starts_with(prefix));
        Ok(self.page(wanted, usize::MAX, max_bytes))
    }

    /// Rows of `space` whose keys are in `keys`, in the order of the keys or against it. A page has at least one row,
    /// if there is one, and otherwise at most `max_rows`, and at most `max_bytes` or
    /// [`Limits::page_bytes`](crate::Limits::page_bytes) of rows.
    ///
    /// # Errors
    /// [`UnknownSpace`].
    pub fn rows_between(
        &self,
        space: SpaceId,
        keys: &KeyRange,
        max_rows: usize,
        max_bytes: usize,
    ) -> Result<RangePage, UnknownSpace> {
        let rows = &self.known_space(space)?.rows;
        let start: &[u8] = &keys.start;
        let end = match &keys.end {
            // The map panics if the bounds are in the wrong order.
            Some(end) if &end[..] <= start => return Ok(self.page([].into_iter(), 0, 0)),
            Some(end) => Bound::Excluded(&end[..]),
            None => Bound::Unbounded,
        };
        let wanted = rows.range::<[u8], _>((Bound::Included(start), end));
        Ok(match keys.descending {
            true => self.page(wanted.rev(), max_rows, max_bytes),
            false => self.page(wanted, max_rows, max_bytes),
        })
    }

    fn page<'a>(
        &self,
        wanted: impl Iterator<Item = (&'a Bytes, &'a Row)>,
        max_rows: usize,
        max_bytes: usize,
    ) -> RangePage {
        let max_bytes = self.page_bytes(max_bytes);
        let (mut rows, mut bytes, mut more) = (Vec::new(), 0, false);
        for (key, row) in wanted {
            bytes += row_bytes(key, &row.value);
            more = (bytes > max_bytes || rows.len() >= max_rows) && !rows.is_empty();
            if more {
                break;
            }
            rows.push((key.clone(), row.clone()));
        }
        RangePage { rows, more, version: self.version() }
    }

    /// Changes after version `since` of rows of `space` whose keys begin with `prefix`. The changes of one transaction
    /// are never divided. A page has at least one transaction, if there is one, and otherwise at most `max_bytes` or
    /// [`Limits::page_bytes`](crate::Limits::page_bytes) of rows.
    ///
    /// # Errors
    /// [`UnknownSpace`].
    pub fn changes(
        &self,
        space: SpaceId,
        prefix: &[u8],
        since: Version,
        max_bytes: usize,
    ) -> Result<Changes, UnknownSpace> {
        let watched = self.known_space(space)?;
        let version = self.version();
        if since > version {
            return Ok(Changes::Ahead { version });
        }
        // The space was empty when it was created, so nothing before that matters.
        let mut up_to = since.max(watched.created);
        let Some(transactions) = self.ring.after(up_to) else { return Ok(Changes::Reset) };
        let max_bytes = self.page_bytes(max_bytes);
        let (mut changes, mut bytes) = (Vec::new(), 0);
        for (version, touched) in transactions {
            let touched = touched.iter().filter(|row| row.space == space);
            let touched = touched.filter(|row| row.key.starts_with(prefix));
            let before = changes.len();
            changes.extend(
                touched.filter_map(|row| watched.change(&row.key, version, row.is_deleted)),
            );
            bytes += changes[before..].iter().map(Change::bytes).sum::<u64>();
            if bytes > max_bytes && before > 0 {
                changes.truncate(before);
                return Ok(Changes::Page { changes, up_to, is_complete: false });
            }
            up_to = version;
        }
        Ok(Changes::Page { changes, up_to: version, is_complete: true })
    }

    fn known_space(&self, space: SpaceId) -> Result<&Space, UnknownSpace> {
        self.space(space).ok_or(UnknownSpace(space))
    }

    fn page_bytes(&self, wanted: usize) -> u64 {
        wanted.min(self.limits.page_bytes) as u64
    }
}

impl Space {
    /// The change that `version` made to a row. `None` if the row changed again later: then a later transaction of the
    /// ring has the change.
    fn change(&self, key: &Bytes, version: Version, is_deleted: bool) -> Option<Change> {
        let row = self.rows.get(key);
        let is_last = row.map_or(is_deleted, |row| row.version == version);
        is_last.then(|| Change { key: key.clone(), version, row: row.cloned() })
    }
}

#[cfg(test)]
mod tests {
    use anabranch_types::Timestamp;

    use super::*;
    use crate::checkpoint::CheckpointReader;
    use crate::command::{Command, Transaction};
    use crate::limits::Limits;
    use crate::row::TransactionId;

    const ALL: usize = usize::MAX;

    fn create(table: &mut TableState, name: &str) -> SpaceId {
        let create = Command::CreateSpace { id: TransactionId([1; 16]), name: name.into() };
        table.apply(table.applied() + 1, create);
        table.space_named(name).unwrap().0
    }

    /// One transaction: "key=value" puts, "-key" deletes.
    fn write(table: &mut TableState, space: SpaceId, steps: &[&str]) {
        let key = |key: &str| Key { space, key: Bytes::copy_from_slice(key.as_bytes()) };
        let mut transaction = Transaction::default();
        for step in steps {
            match (step.split_once('='), step.strip_prefix('-')) {
                (Some((k, value)), _) => {
                    transaction.puts.push((key(k), Bytes::copy_from_slice(value.as_bytes())));
                }
                (None, Some(k)) => transaction.deletes.push(key(k)),
                (None, None) => panic!("{step}"),
            }
        }
        let (transactions, now) = (vec![transaction], Timestamp::default());
        table.apply(table.applied() + 1, Command::Transact { transactions, now });
    }

    fn shown(key: &Bytes, row: Option<&Row>) -> String {
        let key = std::str::from_utf8(key).unwrap();
        let value = row.map(|row| std::str::from_utf8(&row.value).unwrap());
        value.map_or_else(|| format!("-{key}"), |value| format!("{key}={value}"))
    }

    fn range(table: &TableState, prefix: &str, after: Option<&str>, max: usize) -> (String, bool) {
        let after = after.map(str::as_bytes);
        let page = table.range(SpaceId(1), prefix.as_bytes(), after, max).unwrap();
        let rows: Vec<_> = page.rows.iter().map(|(key, row)| shown(key, Some(row))).collect();
        assert_eq!(page.version, table.version());
        (rows.join(" "), page.more)
    }

    fn changes(table: &TableState, prefix: &str, since: u64, max: usize) -> String {
        let since = Version::new(since, 0);
        match table.changes(SpaceId(1), prefix.as_bytes(), since, max).unwrap() {
            Changes::Page { changes, up_to, is_complete } => {
                let changes = changes.iter().map(|change| {
                    assert!(change.row.as_ref().is_none_or(|row| row.version == change.version));
                    shown(&change.key, change.row.as_ref()) + " "
                });
                let more = if is_complete { "" } else { ", more" };
                changes.collect::<String>() + &format!("up to {}{more}", up_to.log_index())
            }
            Changes::Reset => "reset".to_owned(),
            Changes::Ahead { version } => format!("ahead of {}", version.log_index()),
        }
    }

    #[test]
    fn ranges_have_a_prefix_and_go_on_after_a_key() {
        let mut table = TableState::new(Limits::default());
        let space = create(&mut table, "a");
        write(&mut table, space, &["a=1", "b=2", "b/1=3", "b/2=4", "b0=5", "c=6"]);
        let other = create(&mut table, "b");
        write(&mut table, other, &["b/9=7"]);
        assert_eq!(range(&table, "", None, ALL), ("a=1 b=2 b/1=3 b/2=4 b0=5 c=6".into(), false));
        assert_eq!(range(&table, "b/", None, ALL), ("b/1=3 b/2=4".into(), false));
        assert_eq!(range(&table, "b/", Some("b/1"), ALL), ("b/2=4".into(), false));
        assert_eq!(range(&table, "b/", Some("b/11"), ALL), ("b/2=4".into(), false));
        assert_eq!(range(&table, "b/", Some("a"), ALL), ("b/1=3 b/2=4".into(), false));
        assert_eq!(range(&table, "b/", Some("c"), ALL), (String::new(), false));
        assert_eq!(range(&table, "b", None, 1), ("b=2".into(), true));
        assert_eq!(range(&table, "b", None, 406), ("b=2 b/1=3".into(), true));
        assert_eq!(range(&table, "b/", Some("b/1"), 1), ("b/2=4".into(), false));
        table.limits.page_bytes = 202;
        assert_eq!(range(&table, "", None, ALL), ("a=1".into(), true));
        let unknown = SpaceId(3);
        assert_eq!(table.range(unknown, b"", None, ALL), Err(UnknownSpace(unknown)));
        let key = Key { space: unknown, key: Bytes::from_static(b"a") };
        assert_eq!(table.get(&key), Err(UnknownSpace(unknown)));
    }

    #[test]
    fn rows_between_two_keys_come_in_both_orders() {
        let mut table = TableState::new(Limits::default());
        let space = create(&mut table, "a");
        write(&mut table, space, &["a=1", "b=2", "b/1=3", "c=4"]);
        let between = |start: &'static str, end: Option<&'static str>, descending, max_rows| {
            let end = end.map(|end| Bytes::from_static(end.as_bytes()));
            let keys = KeyRange { start: start.into(), end, descending };
            let page = table.rows_between(space, &keys, max_rows, ALL).unwrap();
            let rows: Vec<_> = page.rows.iter().map(|(key, row)| shown(key, Some(row))).collect();
            (rows.join(" "), page.more)
        };
        assert_eq!(between("", None, false, 9), ("a=1 b=2 b/1=3 c=4".into(), false));
        assert_eq!(between("b", Some("c"), false, 9), ("b=2 b/1=3".into(), false));
        assert_eq!(between("b", Some("c"), true, 9), ("b/1=3 b=2".into(), false));
        assert_eq!(between("", None, true, 2), ("c=4 b/1=3".into(), true));
        assert_eq!(between("c", Some("b"), false, 9), (String::new(), false));
        assert_eq!(between("b", Some("b"), true, 9), (String::new(), false));
        assert_eq!(between("", None, false, 0), ("a=1".into(), true), "one row at least");
    }

    #[test]
    fn a_watcher_gets_the_last_change_of_each_row() {
        let mut table = TableState::new(Limits::default());
        let space = create(&mut table, "a");
        write(&mut table, space, &["x=1", "y=1"]);
        write(&mut table, space, &["x=2"]);
        write(&mut table, space, &["-y", "z=1"]);
        assert_eq!(changes(&table, "", 0, ALL), "x=2 z=1 -y up to 4");
        assert_eq!(changes(&table, "", 1, ALL), "x=2 z=1 -y up to 4");
        assert_eq!(changes(&table, "", 3, ALL), "z=1 -y up to 4");
        assert_eq!(changes(&table, "y", 0, ALL), "-y up to 4");
        assert_eq!(changes(&table, "", 4, ALL), "up to 4");
        assert_eq!(changes(&table, "", 5, ALL), "ahead of 4");
        // Changes of other spaces move the watcher on.
        let other = create(&mut table, "b");
        write(&mut table, other, &["x=9"]);
        assert_eq!(changes(&table, "", 4, ALL), "up to 6");
        let unknown = table.changes(SpaceId(3), b"", Version::START, ALL);
        assert_eq!(unknown, Err(UnknownSpace(SpaceId(3))));
    }

    #[test]
    fn pages_of_changes_have_whole_transactions() {
        let mut table = TableState::new(Limits::default());
        let space = create(&mut table, "a");
        write(&mut table, space, &["a=1"]);
        write(&mut table, space, &["b=1", "c=1"]);
        write(&mut table, space, &["a=2"]);
        write(&mut table, space, &["d=1"]);
        // The change of a at 2 is left out, since a changed again.
        assert_eq!(changes(&table, "", 0, 1), "b=1 c=1 up to 3, more");
        assert_eq!(changes(&table, "", 3, 1), "a=2 up to 4, more");
        assert_eq!(changes(&table, "", 4, 1), "d=1 up to 5");
        assert_eq!(changes(&table, "", 0, 606), "b=1 c=1 a=2 up to 4, more");
        table.limits.page_bytes = 404;
        assert_eq!(changes(&table, "", 3, ALL), "a=2 d=1 up to 5");
    }

    #[test]
    fn a_watcher_that_is_too_old_is_reset() {
        let mut table = TableState::new(Limits { watched_changes: 2, ..Limits::default() });
        let space = create(&mut table, "a");
        for value in ["x=1", "x=2", "x=3"] {
            write(&mut table, space, &[value]);
        }
        assert_eq!(changes(&table, "", 0, ALL), "reset");
        assert_eq!(changes(&table, "", 1, ALL), "reset");
        assert_eq!(changes(&table, "", 2, ALL), "x=3 up to 4");
        // The ring has all changes of a space that was created later.
        let late = create(&mut table, "b");
        write(&mut table, late, &["y=1"]);
        let page = table.changes(late, b"", Version::START, ALL).unwrap();
        assert!(matches!(page, Changes::Page { changes, .. } if changes.len() == 1));
    }

    #[test]
    fn a_replica_from_a_checkpoint_has_an_empty_ring() {
        let mut table = TableState::new(Limits::default());
        let space = create(&mut table, "a");
        write(&mut table, space, &["x=1"]);
        let mut reader = CheckpointReader::new(Limits::default());
        for part in table.checkpoint().parts() {
            reader.read(part).unwrap();
        }
        let mut restored = reader.finish().unwrap();
        assert_eq!(changes(&restored, "", 1, ALL), "reset");
        assert_eq!(changes(&restored, "", 2, ALL), "up to 2");
        write(&mut restored, space, &["x=2"]);
        assert_eq!(changes(&restored, "", 1, ALL), "reset");
        assert_eq!(changes(&restored, "", 2, ALL), "x=2 up to 3");
    }
}
