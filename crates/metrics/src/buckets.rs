/// The bucket sets that all histograms share, so that they can be compared and added up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Buckets {
    /// Seconds, from 50 µs to 10 s.
    Latency,
    /// Bytes, from 256 B to 64 MiB, each bound four times the one before.
    Bytes,
    /// Things handled together, from 1 to 4,096, each bound twice the one before.
    Count,
}

const LATENCY: [f64; 17] = [
    0.000_05, 0.000_1, 0.000_25, 0.000_5, 0.001, 0.002_5, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5,
    1.0, 2.5, 5.0, 10.0,
];
const BYTES: [f64; 10] = [
    256.0,
    1024.0,
    4096.0,
    16_384.0,
    65_536.0,
    262_144.0,
    1_048_576.0,
    4_194_304.0,
    16_777_216.0,
    67_108_864.0,
];
const COUNT: [f64; 13] =
    [1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0, 128.0, 256.0, 512.0, 1024.0, 2048.0, 4096.0];

impl Buckets {
    /// The upper bounds of the buckets, inclusive and rising. Larger values are counted in a last bucket without bound.
    pub(crate) const fn bounds(self) -> &'static [f64] {
        match self {
            Self::Latency => &LATENCY,
            Self::Bytes => &BYTES,
            Self::Count => &COUNT,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bounds_rise() {
        for buckets in [Buckets::Latency, Buckets::Bytes, Buckets::Count] {
            let bounds = buckets.bounds();
            assert!(bounds.windows(2).all(|pair| pair[0] < pair[1]), "{buckets:?}");
        }
    }
}
