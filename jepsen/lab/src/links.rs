//! The links between hosts: a rule for each direction of each pair, and what the rules did.
//!
//! The switch applies the rules to frames ([`Links::frame`]), and the proxy applies them to the bytes of connections
//! ([`Links::bytes`]). Faults only set rules, so they do not know which of the two joins the hosts.
//!
//! Each ordered pair has a random generator of its own, seeded from the seed of the run. So the decisions about one
//! pair do not depend on the traffic of the others.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

/// Index of a host, from 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Host(pub usize);

/// The treatment of traffic from one host to another. The default forwards everything at once.
///
/// The proxy knows no frames: there, `loss`, `duplicate` and `corrupt` have no effect, bytes that are delayed never
/// overtake each other, and bytes that a cut stops arrive after the cut, as TCP would send them again.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Rule {
    /// Whether all frames are dropped.
    pub cut: bool,
    /// Probability that a frame is dropped.
    pub loss: f64,
    /// Time by which every frame is delayed.
    pub delay: Duration,
    /// Maximum further delay, drawn for each frame, so that frames overtake each other.
    pub jitter: Duration,
    /// Probability that a frame is delivered twice.
    pub duplicate: f64,
    /// Probability that one bit of a frame is flipped. Checksums of TCP detect nearly all of these.
    pub corrupt: f64,
    /// Bits a second; 0 is no limit.
    pub bits_per_second: u64,
}

/// Frames of one direction that were treated in each way. The proxy counts pieces of a connection's bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    /// Frames that arrived.
    pub arrived: u64,
    /// Frames that a cut dropped.
    pub cut: u64,
    /// Frames that a loss dropped.
    pub lost: u64,
    /// Frames that were delivered late: by a delay, jitter or a limit of the rate.
    pub delayed: u64,
    /// Frames that were delivered twice.
    pub duplicated: u64,
    /// Frames with a flipped bit.
    pub corrupted: u64,
}

impl Counters {
    /// Frames that a rule touched in any way.
    #[must_use]
    pub fn touched(&self) -> u64 {
        self.cut + self.lost + self.delayed + self.duplicated + self.corrupted
    }
}

/// The rules and counters of all links. Clones change the same links.
#[derive(Clone, Debug)]
pub struct Links(Arc<Mutex<Pairs>>);

#[derive(Debug)]
struct Pairs {
    hosts: usize,
    links: Vec<Link>,
}

/// One direction of one pair of hosts.
#[derive(Debug)]
struct Link {
    rule: Rule,
    counters: Counters,
    random: StdRng,
    /// When the last frame will have left, at the limited rate.
    busy_until: Instant,
}

impl Links {
    /// Links that forward everything.
    pub(crate) fn new(hosts: usize, seed: u64) -> Self {
        let links = (0..hosts * hosts).map(|pair| Link::new(seed, pair)).collect();
        Self(Arc::new(Mutex::new(Pairs { hosts, links })))
    }

    fn lock(&self) -> MutexGuard<'_, Pairs> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Sets the rule for frames from `from` to `to`.
    pub fn set(&self, from: Host, to: Host, rule: Rule) {
        if let Some(link) = self.lock().link(from, to) {
            link.rule = rule;
        }
    }

    /// Sets the rule for both directions.
    pub fn set_both(&self, one: Host, other: Host, rule: Rule) {
        self.set(one, other, rule);
        self.set(other, one, rule);
    }

    /// Forwards everything again.
    pub fn heal(&self) {
        self.lock().links.iter_mut().for_each(|link| link.rule = Rule::default());
    }

    /// Counters of the direction from `from` to `to`, since the start of the lab.
    #[must_use]
    pub fn counters(&self, from: Host, to: Host) -> Counters {
        self.lock().link(from, to).map(|link| link.counters).unwrap_or_default()
    }

    /// Frames of all directions that any rule touched.
    #[must_use]
    pub fn touched(&self) -> u64 {
        self.lock().links.iter().map(|link| link.counters.touched()).sum()
    }

    /// Applies the rule to one frame. Returns what to deliver, and after which time.
    pub(crate) fn frame(&self, from: Host, to: Host, frame: &[u8]) -> Vec<(Duration, Vec<u8>)> {
        self.lock().link(from, to).map(|link| link.frame(frame)).unwrap_or_default()
    }

    /// Applies the rule to bytes of a connection. Returns the time after which to deliver them, or `None` while the
    /// direction is cut.
    pub(crate) fn bytes(&self, from: Host, to: Host, bytes: usize) -> Option<Duration> {
        self.lock().link(from, to)?.bytes(bytes)
    }
}

impl Pairs {
    fn link(&mut self, from: Host, to: Host) -> Option<&mut Link> {
        self.links.get_mut(from.0 * self.hosts + to.0)
    }
}

impl Link {
    fn new(seed: u64, pair: usize) -> Self {
        let random = StdRng::seed_from_u64(seed ^ ((pair as u64 + 1) << 32));
        let (rule, counters) = (Rule::default(), Counters::default());
        Self { rule, counters, random, busy_until: Instant::now() }
    }

    fn frame(&mut self, frame: &[u8]) -> Vec<(Duration, Vec<u8>)> {
        let rule = self.rule;
        self.counters.arrived += 1;
        if rule.cut {
            self.counters.cut += 1;
            return Vec::new();
        }
        if self.hits(rule.loss) {
            self.counters.lost += 1;
            return Vec::new();
        }
        let twice = self.hits(rule.duplicate);
        self.counters.duplicated += u64::from(twice);
        let mut due = Vec::new();
        for _ in 0..=usize::from(twice) {
            let mut copy = frame.to_vec();
            if self.hits(rule.corrupt) {
                flip_a_bit(&mut self.random, &mut copy);
                self.counters.corrupted += 1;
            }
            due.push((self.wait(copy.len()), copy));
        }
        due
    }

    fn bytes(&mut self, bytes: usize) -> Option<Duration> {
        self.counters.arrived += 1;
        if self.rule.cut {
            self.counters.cut += 1;
            return None;
        }
        Some(self.wait(bytes))
    }

    /// Time until `bytes` are delivered.
    fn wait(&mut self, bytes: usize) -> Duration {
        let rule = self.rule;
        let mut wait = rule.delay;
        if !rule.jitter.is_zero() {
            wait += rule.jitter.mul_f64(self.random.random());
        }
        let nanoseconds = (bytes as u64 * 8).saturating_mul(1_000_000_000);
        if let Some(takes) = nanoseconds.checked_div(rule.bits_per_second) {
            let (now, takes) = (Instant::now(), Duration::from_nanos(takes));
            self.busy_until = self.busy_until.max(now) + takes;
            wait += self.busy_until - now;
        }
        self.counters.delayed += u64::from(!wait.is_zero());
        wait
    }

    fn hits(&mut self, probability: f64) -> bool {
        probability > 0.0 && self.random.random::<f64>() < probability
    }
}

fn flip_a_bit(random: &mut StdRng, frame: &mut [u8]) {
    let at = random.random_range(0..frame.len().max(1));
    if let Some(byte) = frame.get_mut(at) {
        *byte ^= 1 << random.random_range(0..8);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ONE: Host = Host(0);
    const OTHER: Host = Host(1);

    #[test]
    fn a_cut_is_of_one_direction() {
        let links = Links::new(2, 1);
        links.set(ONE, OTHER, Rule { cut: true, ..Rule::default() });
        assert_eq!(
            (links.bytes(ONE, OTHER, 9), links.frame(ONE, OTHER, b"frame").len()),
            (None, 0)
        );
        assert_eq!(links.bytes(OTHER, ONE, 9), Some(Duration::ZERO));
        assert_eq!((links.counters(ONE, OTHER).cut, links.touched()), (2, 2));
        links.heal();
        assert_eq!(links.bytes(ONE, OTHER, 9), Some(Duration::ZERO));
    }

    #[test]
    fn a_limited_link_takes_longer_for_more_bytes() {
        let links = Links::new(2, 1);
        links.set_both(ONE, OTHER, Rule { bits_per_second: 8000, ..Rule::default() });
        let wait = |bytes| links.bytes(ONE, OTHER, bytes).unwrap().as_secs_f64().round();
        assert_eq!((wait(2000), wait(1000)), (2.0, 3.0));
    }

    #[test]
    fn one_seed_gives_the_same_delays() {
        let rule = Rule { jitter: Duration::from_secs(1), ..Rule::default() };
        let delays = |seed| {
            let links = Links::new(2, seed);
            links.set(ONE, OTHER, rule);
            [links.bytes(ONE, OTHER, 1), links.bytes(ONE, OTHER, 1)]
        };
        assert_eq!(delays(3), delays(3));
        assert_ne!(delays(3), delays(4));
    }
}
