//! The bounds of a group's log: where it begins, where it ends, and the term of each live entry.
//!
//! Both stores keep one [`Bounds`] for each group and change it with every append, truncation and purge. It holds no
//! entries and does no I/O.

use anabranch_types::LogId;

use crate::LogState;

/// Where a group's log begins and ends, and the term of every live entry.
///
/// ```text
///  purged.index     first ............ last     next = last + 1
///  ───────────┤ gap │     live entries     │     (the gap is usually empty)
/// ```
/// Invariant: `purged.index < first <= next`. `terms` covers `first..next`. Terms rise along the log, because Raft
/// never appends an entry of a lower term.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Bounds {
    purged: Option<LogId>,
    first: u64,
    next: u64,
    /// (First index, term) of each stretch of consecutive entries with one term.
    terms: Vec<(u64, u64)>,
}

impl Bounds {
    /// Builds bounds from stored parts. Returns `None` if the parts break the invariant.
    pub(crate) fn from_parts(
        purged: Option<LogId>,
        first: u64,
        next: u64,
        terms: Vec<(u64, u64)>,
    ) -> Option<Self> {
        let rising = terms.windows(2).all(|pair| pair[0].0 < pair[1].0 && pair[0].1 != pair[1].1);
        let covered = match (terms.first(), terms.last()) {
            (Some(head), Some(tail)) => head.0 == first && tail.0 < next,
            _ => first == next,
        };
        let above = purged.is_none_or(|purged| purged.index < first);
        (rising && covered && above && first <= next).then_some(Self { purged, first, next, terms })
    }

    pub(crate) fn purged(&self) -> Option<LogId> {
        self.purged
    }

    /// Index of the first live entry. If the log is empty, index of the next entry.
    pub(crate) fn first(&self) -> u64 {
        self.first
    }

    /// Index after the last entry.
    pub(crate) fn next(&self) -> u64 {
        self.next
    }

    pub(crate) fn terms(&self) -> &[(u64, u64)] {
        &self.terms
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.first == self.next
    }

    pub(crate) fn term_of(&self, index: u64) -> Option<u64> {
        if !(self.first..self.next).contains(&index) {
            return None;
        }
        let after = self.terms.partition_point(|(first, _)| *first <= index);
        self.terms.get(after.checked_sub(1)?).map(|(_, term)| *term)
    }

    pub(crate) fn state(&self) -> LogState {
        let last = self
            .next
            .checked_sub(1)
            .and_then(|index| self.term_of(index).map(|term| LogId { term, index }));
        LogState { purged: self.purged, last: last.or(self.purged) }
    }

    /// Index at which an append must begin. `None` if the log is empty: then any index from `next` on is valid.
    pub(crate) fn expected(&self) -> Option<u64> {
        (!self.is_empty()).then_some(self.next)
    }

    /// Checks that `ids` continue the log without a gap. The error is (expected index, actual index) of the first id
    /// that does not.
    pub(crate) fn check_append(&self, ids: impl Iterator<Item = LogId>) -> Result<(), (u64, u64)> {
        let mut expected = self.expected();
        for id in ids {
            match expected {
                Some(expected) if id.index != expected => return Err((expected, id.index)),
                None if id.index < self.next => return Err((self.next, id.index)),
                _ => expected = Some(id.index + 1),
            }
        }
        Ok(())
    }

    /// Adds an entry that passed [`Bounds::check_append`].
    pub(crate) fn append(&mut self, id: LogId) {
        if self.is_empty() {
            self.first = id.index;
            self.terms.clear();
        }
        self.next = id.index + 1;
        match self.terms.last() {
            // Raft never sends a term below the one before. Such a term would get its own stretch here, so nothing is
            // lost.
            Some((_, term)) if *term == id.term => {}
            _ => self.terms.push((id.index, id.term)),
        }
    }

    /// Removes every entry from index `from` on.
    pub(crate) fn truncate(&mut self, from: u64) {
        if from >= self.next {
            return;
        }
        self.next = from.max(self.first);
        self.terms.retain(|(first, _)| *first < self.next);
        if self.is_empty() {
            let floor = self.purged.map_or(0, |purged| purged.index + 1);
            (self.first, self.next) = (floor, floor);
            self.terms.clear();
        }
    }

    /// Removes every entry up to and including `up_to`. Returns whether that changed anything.
    pub(crate) fn purge(&mut self, up_to: LogId) -> bool {
        if self.purged.is_some_and(|purged| purged.index >= up_to.index) {
            return false;
        }
        self.purged = Some(up_to);
        let floor = up_to.index + 1;
        if floor >= self.next {
            (self.first, self.next) = (floor, floor);
            self.terms.clear();
        } else if floor > self.first {
            let term = self.term_of(floor);
            self.first = floor;
            self.terms.retain(|(first, _)| *first > floor);
            self.terms.splice(0..0, term.map(|term| (floor, term)));
        }
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(term: u64, index: u64) -> LogId {
        LogId { term, index }
    }

    fn bounds(ids: &[(u64, u64)]) -> Bounds {
        let mut bounds = Bounds::default();
        for (term, index) in ids {
            bounds.append(id(*term, *index));
        }
        bounds
    }

    #[test]
    fn terms_follow_appends_truncations_and_purges() {
        let mut log = bounds(&[(1, 0), (1, 1), (2, 2), (2, 3), (5, 4)]);
        assert_eq!(log.state().last, Some(id(5, 4)));
        log.truncate(4);
        assert_eq!(log.state().last, Some(id(2, 3)));
        assert!(log.purge(id(2, 2)));
        assert_eq!((log.first(), log.next(), log.terms()), (3, 4, &[(3, 2)][..]));
        assert!(!log.purge(id(1, 1)));
    }

    #[test]
    fn purge_beyond_the_end_leaves_an_empty_log_that_starts_after_it() {
        let mut log = bounds(&[(1, 0), (1, 1)]);
        assert!(log.purge(id(3, 9)));
        assert_eq!(log.state(), LogState { purged: Some(id(3, 9)), last: Some(id(3, 9)) });
        assert_eq!(log.check_append([id(3, 9)].into_iter()), Err((10, 9)));
        assert_eq!(log.check_append([id(3, 10), id(3, 11)].into_iter()), Ok(()));
    }

    #[test]
    fn after_truncating_everything_the_last_id_is_the_purged_id() {
        let mut log = bounds(&[(1, 5), (1, 6), (1, 7)]);
        log.purge(id(1, 5));
        log.truncate(6);
        assert_eq!(log.state(), LogState { purged: Some(id(1, 5)), last: Some(id(1, 5)) });
        assert_eq!(log.first(), 6);
    }

    #[test]
    fn valid_parts_are_accepted_and_contradictory_parts_are_refused() {
        let log = bounds(&[(1, 3), (2, 4)]);
        let parts = Bounds::from_parts(None, 3, 5, vec![(3, 1), (4, 2)]);
        assert_eq!(parts, Some(log));
        assert_eq!(Bounds::from_parts(Some(id(1, 3)), 3, 5, vec![(3, 1)]), None);
        assert_eq!(Bounds::from_parts(None, 3, 5, vec![]), None);
        assert_eq!(Bounds::from_parts(None, 3, 5, vec![(3, 2), (5, 3)]), None);
    }
}
