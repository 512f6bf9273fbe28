//! Labels with a closed set of values, and families of metrics: one series for each value.
//!
//! [`crate::label!`] makes an enum that implements [`Label`]. [`Family`] resolves all series when it is registered, so
//! an observation is an index into a list. Values from outside, such as names of streams, never become label values.
//! The only exception is the crate `cloudwatch`, which shows the metrics of applications and bounds their number.

use std::fmt;
use std::marker::PhantomData;

/// A label whose values are known when the program is built: an enum without fields. [`crate::label!`] makes one.
pub trait Label: Copy + 'static {
    /// Name of the label.
    const NAME: &'static str;
    /// Every value once.
    const ALL: &'static [Self];

    /// Text of this value, in lowercase with underscores.
    fn value(self) -> &'static str;

    /// Index of this value in [`Self::ALL`].
    fn index(self) -> usize;
}

/// Makes an enum that is a [`Label`](crate::Label).
///
/// ```
/// anabranch_metrics::label! {
///     /// Which way bytes go.
///     pub enum Direction: "direction" {
///         /// From the client to the node.
///         In = "in",
///         /// From the node to the client.
///         Out = "out",
///     }
/// }
/// ```
#[macro_export]
macro_rules! label {
    (
        $(#[$about:meta])*
        $visibility:vis enum $name:ident: $label:literal {
            $($(#[$about_value:meta])* $value:ident = $text:literal,)+
        }
    ) => {
        $(#[$about])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        $visibility enum $name {
            $($(#[$about_value])* $value,)+
        }

        impl $crate::Label for $name {
            const NAME: &'static str = $label;
            const ALL: &'static [Self] = &[$(Self::$value,)+];

            fn value(self) -> &'static str {
                match self {
                    $(Self::$value => $text,)+
                }
            }

            fn index(self) -> usize {
                self as usize
            }
        }
    };
}

/// One metric for each value of a label. Each is shown from the start, with the value 0.
pub struct Family<L, M> {
    members: Box<[M]>,
    label: PhantomData<fn(L)>,
}

impl<L: Label, M> Family<L, M> {
    /// Makes each member from the text of its label.
    pub(crate) fn new(member: impl Fn(&'static str) -> M) -> Self {
        let members = L::ALL.iter().map(|label| member(label.value())).collect();
        Self { members, label: PhantomData }
    }

    /// The metric with this label.
    #[must_use]
    pub fn of(&self, label: L) -> &M {
        &self.members[label.index()]
    }
}

impl<L, M: fmt::Debug> fmt::Debug for Family<L, M> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_list().entries(&self.members).finish()
    }
}
