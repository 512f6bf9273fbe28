use std::collections::BTreeMap;

use anabranch_shard::Position;

/// What was acknowledged, and what it takes for reads to agree with it.
#[derive(Clone, Debug, Default)]
pub struct Oracle {
    acknowledged: BTreeMap<Position, String>,
}

impl Oracle {
    /// A record was acknowledged at `position`. Complains if another one was acknowledged there.
    ///
    /// # Errors
    /// What is wrong, in words.
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

    /// Whether none was.
    pub fn is_empty(&self) -> bool {
        self.acknowledged.is_empty()
    }

    /// Checks a full read from `horizon` on: every acknowledged record is there, unchanged, once, in
    /// order. Records that nobody acknowledged may be there: their outcome was unknown.
    ///
    /// # Errors
    /// What is wrong, in words.
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
    fn every_kind_of_damage_is_seen() {
        let check = |records: &[(u64, &str)]| oracle().check(Position::entry(0), &read(records));
        assert_eq!(check(&[(1, "a"), (2, "b"), (3, "unknown")]), Ok(()));
        assert!(check(&[(1, "a")]).unwrap_err().contains("lost"));
        assert!(check(&[(1, "a"), (2, "x")]).unwrap_err().contains("read \"x\""));
        assert!(check(&[(2, "b"), (1, "a")]).unwrap_err().contains("out of order"));
        assert!(oracle().acknowledge(Position::entry(1), "z").is_err());
    }

    #[test]
    fn what_is_trimmed_need_not_be_there() {
        assert_eq!(oracle().check(Position::entry(2), &read(&[(2, "b")])), Ok(()));
    }
}
