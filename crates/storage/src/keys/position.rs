use super::{POSITION_TAG, prefix, varint};
use crate::segment::round::LogEnd;

pub(super) fn key() -> Vec<u8> {
    prefix(POSITION_TAG, &[])
}

/// Position of the log that the rows reflect: every round up to this one, and no later one. The opening replays the
/// log from here.
///
/// Value: segment, offset, round; varints.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Position(pub(crate) LogEnd);

impl Position {
    pub(crate) fn encode(self) -> Vec<u8> {
        let mut out = Vec::new();
        varint::put(&mut out, self.0.segment);
        varint::put(&mut out, self.0.offset);
        varint::put(&mut out, self.0.round);
        out
    }

    pub(crate) fn decode(mut value: &[u8]) -> Option<Self> {
        let segment = varint::take(&mut value)?;
        let offset = varint::take(&mut value)?;
        let round = varint::take(&mut value)?;
        value.is_empty().then_some(Self(LogEnd { segment, offset, round }))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::keys::Key;

    proptest! {
        #[test]
        fn values_read_back(segment: u64, offset: u64, round: u64) {
            let position = Position(LogEnd { segment, offset, round });
            prop_assert_eq!(Position::decode(&position.encode()), Some(position));
        }
    }

    #[test]
    fn key_reads_back() {
        assert_eq!(Key::decode(&Key::Position.encode()), Some(Key::Position));
    }
}
