use std::fmt;

/// Name and help text of a metric: a constant in the `metrics.rs` of the crate that observes it.
///
/// The name is `anabranch_<crate>_<what>_<unit>`, in base units (seconds, bytes), with `_total` behind it for counters.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Metric {
    name: &'static str,
    help: &'static str,
}

/// Type of a metric, for the rules of names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Counter,
    Gauge,
    Histogram,
}

impl Metric {
    /// A metric called `name`; `help` is one sentence for operators.
    #[must_use]
    pub const fn new(name: &'static str, help: &'static str) -> Self {
        Self { name, help }
    }

    /// Name, as Prometheus shows it.
    #[must_use]
    pub const fn name(&self) -> &'static str {
        self.name
    }

    /// Help text: one sentence.
    #[must_use]
    pub const fn help(&self) -> &'static str {
        self.help
    }

    /// Panics unless the name follows the rules for a metric of this kind.
    pub(crate) fn assert_name(&self, kind: Kind) {
        let allowed = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_';
        assert!(
            self.name.starts_with("anabranch_") && self.name.bytes().all(allowed),
            "metric {self}: the name must be anabranch_<crate>_<what>_<unit> in lowercase"
        );
        assert_eq!(
            self.name.ends_with("_total"),
            kind == Kind::Counter,
            "metric {self}: counters end in _total, and nothing else does"
        );
    }
}

impl fmt::Display for Metric {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.name)
    }
}
