use anabranch_catalog::Command;

use crate::generated::pb_catalog as pb;

/// A field of the oneof of all commands.
pub(super) use pb::command::Command as Pb;

/// Result of handing a message to one family.
pub(super) enum Decoded {
    /// The message is a command of the family.
    Command(Command),
    /// The message is of another family. It is handed back.
    Other(Pb),
}
