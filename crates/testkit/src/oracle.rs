//! Checks that no acknowledged record is lost, changed or out of order. It knows nothing of the cluster: a test tells
//! it what was acknowledged and what was read.

use std::collections::BTreeMap;

use anabranch_shard::Position;

/// The records that were acknowledged.
#[derive(Clone, Debug, Default)]
pub struct Oracle {
    acknowledged: BTreeMap<Position, String>,
}

impl Oracle {
    /// Notes that a record was acknowledged at `position`.
    ///
    /// # Errors
    /// Another record was acknowledged there; the text names both.
    pub fn acknowledge(&mut self, position: Position, text: &str) -> Result<(), String> {
        match self.acknowledged.insert(position, text.to_owned()) {
            Some(before) if before != text => {
                Err(format!("{position:?} was acknowledged for {before:?} and for {text:?}"))
            }
            _ => Ok(()),
        }
    }

    /// How many records were acknowledged.
    pub fn len(&self) -> usize {
        self.acknowledged.len()
    }

    /// Whether no record was acknowledged.
    pub fn is_empty(&self) -> bool {
        self.acknowledged.is_empty()
    }

    /// Checks a full read from `horizon` on: every acknowledged record was read, unchanged, once, in order. Other
    /// records may have been read too: their outcome was unknown.
    ///
    /// # Errors
    /// The first difference, as a text.
    pub fn check(&self, horizon: Position, read: &[(Position, String)]) -> Result<(), String> {
        if let Some(pair) = read.windows(2).find(|pair| pair[0].0 >= pair[1].0) {
            return Err(format!("read out of order: {pair:?}"));
        }
        let read: BTreeMap<_, _> = read.iter().cloned().collect();
        for (position, text) in self.acknowledged.range(horizon..) {
            match read.get(position) {
                Some(found) if found == text => {}
                Some(found) => {
                    return Err(format!("{position:?}: acknowledged {text:?}, read {found:?}"));
                }
                None => return Err(format!("{position:?}: acknowledged {text:?}, lost")),
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(records: &[(u64, &str)]) -> Vec<(Position, String)> {
        records.iter().map(|(i, text)| (Position::entry(*i), (*text).to_owned())).collect()
    }

    fn oracle() -> Oracle {
        let mut oracle = Oracle::default();
        for (position, text) in read(&[(1, "a"), (2, "b")]) {
            oracle.acknowledge(position, &text).unwrap();
        }
        oracle
    }

    #[test]
    fn a_lost_changed_or_misplaced_record_is_an_error() {
        let check = |records: &[(u64, &str)]| oracle().check(Position::entry(0), &read(records));
        assert_eq!(check(&[(1, "a"), (2, "b"), (3, "unknown")]), Ok(()));
        assert!(check(&[(1, "a")]).unwrap_err().contains("lost"));
        assert!(check(&[(1, "a"), (2, "x")]).unwrap_err().contains("read \"x\""));
        assert!(check(&[(2, "b"), (1, "a")]).unwrap_err().contains("out of order"));
        assert!(oracle().acknowledge(Position::entry(1), "z").is_err());
    }

    #[test]
    fn a_record_below_the_horizon_may_be_missing() {
        assert_eq!(oracle().check(Position::entry(2), &read(&[(2, "b")])), Ok(()));
    }
}
