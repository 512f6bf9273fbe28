//! A watcher's copy of a range of rows, made of the pages that replicas send.
//!
//! Pages are gathered beside the rows that are shown. A complete page shows them all at once. So a reader never sees
//! half of a reset, and when the connection breaks before the complete page, the copy stays as it was.
//!
//! This never happens: the version that is shown falls.

use bytes::Bytes;
use rpds::RedBlackTreeMapSync;

use crate::row::{Row, Version};
use crate::watch::WatchPage;

/// Rows by their keys, of one version. A clone costs the same however many rows there are.
pub type RowsByKey = RedBlackTreeMapSync<Bytes, Row>;

/// A page that does not follow what the copy shows. The replica that sent it is not to be asked further.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("version {page} after version {shown}")]
pub struct WentBack {
    /// The version that the copy shows.
    pub shown: Version,
    /// The version of the page.
    pub page: Version,
}

/// A copy of a range of rows.
#[derive(Clone, Debug, Default)]
pub struct RowCopy {
    rows: RowsByKey,
    version: Version,
    /// The rows with the pages since the last complete one. `None` if the last page was complete.
    gathered: Option<RowsByKey>,
}

impl RowCopy {
    /// Takes the next page. Says whether the copy shows it: only after a complete page.
    ///
    /// # Errors
    /// [`WentBack`]; the copy then shows what it showed before.
    pub fn take(&mut self, page: WatchPage) -> Result<bool, WentBack> {
        let began = if page.is_reset { Some(RowsByKey::new_sync()) } else { self.gathered.take() };
        let mut rows = began.unwrap_or_else(|| self.rows.clone());
        for change in page.changes {
            match change.row {
                Some(row) => rows.insert_mut(change.key, row),
                None => drop(rows.remove_mut(&change.key)),
            }
        }
        if !page.is_complete {
            self.gathered = Some(rows);
            return Ok(false);
        }
        if page.version < self.version {
            self.gathered = None;
            return Err(WentBack { shown: self.version, page: page.version });
        }
        (self.rows, self.version, self.gathered) = (rows, page.version, None);
        Ok(true)
    }

    /// The space was dropped: the copy shows no rows any more.
    pub fn drop_rows(&mut self, version: Version) {
        *self = Self { version: version.max(self.version), ..Self::default() };
    }

    /// Forgets the pages since the last complete one. Another replica begins at [`Self::version`].
    pub fn break_off(&mut self) {
        self.gathered = None;
    }

    /// The rows that the copy shows.
    pub fn rows(&self) -> &RowsByKey {
        &self.rows
    }

    /// The version that the copy shows. [`Version::START`] if it has seen no complete page.
    pub fn version(&self) -> Version {
        self.version
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::reads::Change;
    use crate::row::TransactionId;

    fn page(is_reset: bool, changes: &[(&'static str, bool)], version: u64) -> WatchPage {
        let version = Version::new(version, 0);
        let change = |(key, is_put): &(&'static str, bool)| {
            let row = Row { version, writer: TransactionId::default(), value: Bytes::new() };
            Change { key: Bytes::from_static(key.as_bytes()), version, row: is_put.then_some(row) }
        };
        let changes = changes.iter().map(change).collect();
        WatchPage { is_reset, changes, version, is_complete: false }
    }

    fn complete(page: WatchPage) -> WatchPage {
        WatchPage { is_complete: true, ..page }
    }

    fn shown(copy: &RowCopy) -> String {
        let keys = copy.rows().keys().map(|key| std::str::from_utf8(key).unwrap());
        format!("{} at {}", keys.collect::<Vec<_>>().join(" "), copy.version().log_index())
    }

    #[test]
    fn only_a_complete_page_is_shown() {
        let mut copy = RowCopy::default();
        assert_eq!(copy.take(page(false, &[("a", true), ("b", true)], 1)), Ok(false));
        assert_eq!(shown(&copy), " at 0");
        assert_eq!(copy.take(complete(page(false, &[("b", false), ("c", true)], 2))), Ok(true));
        assert_eq!(shown(&copy), "a c at 2");
        assert_eq!(copy.take(page(true, &[("d", true)], 3)), Ok(false));
        assert_eq!(shown(&copy), "a c at 2");
        assert_eq!(copy.take(complete(page(false, &[], 4))), Ok(true));
        assert_eq!(shown(&copy), "d at 4");
    }

    #[test]
    fn a_broken_connection_and_an_older_page_change_nothing() {
        let mut copy = RowCopy::default();
        copy.take(complete(page(true, &[("a", true)], 5))).unwrap();
        copy.take(page(true, &[("b", true)], 6)).unwrap();
        copy.break_off();
        assert_eq!(copy.take(complete(page(false, &[("c", true)], 7))), Ok(true));
        assert_eq!(shown(&copy), "a c at 7");
        let went_back = copy.take(complete(page(true, &[], 6)));
        assert_eq!(went_back.unwrap_err().to_string(), "version 6.0 after version 7.0");
        assert_eq!(shown(&copy), "a c at 7");
        copy.drop_rows(Version::new(9, 0));
        assert_eq!(shown(&copy), " at 9");
    }
}
