//! A user-space Ethernet switch with faults for each direction of each pair of hosts.
//!
//! One thread reads frames from the TAP interface of every host and writes them to the interface of the receiver, which
//! the last byte of the address names. A frame that a [`Rule`] delays waits in a heap, ordered by the time at which it
//! is due. Broadcasts (ARP) go to all other hosts, each under the rule for its pair.
//!
//! Each ordered pair has a random generator of its own, seeded from the seed of the run. So the decisions about one
//! pair do not depend on the traffic of the others.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::fs::File;
use std::io::{ErrorKind, Read, Write};
use std::os::fd::AsFd;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use rustix::event::{PollFd, PollFlags, Timespec, poll};

use crate::ioctl::open_tap;
use crate::namespace::Namespace;

/// Index of a host of the switch, from 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Host(pub usize);

/// The treatment of frames from one host to another. The default forwards every frame at once.
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

/// Frames of one direction that the switch treated in each way.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counters {
    /// Frames that arrived at the switch.
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

/// The rules and counters of a switch. Clones change the same switch.
#[derive(Clone, Debug)]
pub struct Links(Arc<Mutex<Pairs>>);

/// The switch. Its thread ends when the value is dropped.
#[derive(Debug)]
pub(crate) struct Switch {
    links: Links,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

#[derive(Debug)]
struct Pairs {
    hosts: usize,
    rules: Vec<Rule>,
    counters: Vec<Counters>,
}

/// Longest wait of the thread before it looks whether it must stop.
const LONGEST_WAIT: Duration = Duration::from_millis(20);
/// Frames that the thread takes from one host before it looks at the next.
const BURST: usize = 32;
/// Frames that wait for their time. Further frames are dropped, as the queue of a real switch drops them.
const QUEUE: usize = 20_000;

impl Switch {
    /// Starts a switch with one host in each of the namespaces, in their order. The interface `eth0` of each is up when
    /// the function returns; host `i` has the address `02:00:00:00:00:(i+1)`.
    ///
    /// # Errors
    /// If an interface can't be made.
    pub(crate) fn start(namespaces: &[&Namespace], seed: u64) -> Result<Self> {
        let hosts = namespaces.len();
        let taps = namespaces.iter().map(|namespace| namespace.on_a_thread(open_tap));
        let taps = taps.collect::<Result<Vec<File>>>()?;
        for (index, namespace) in namespaces.iter().enumerate() {
            namespace.ip(&format!("link set eth0 address 02:00:00:00:00:{:02x}", index + 1))?;
            namespace.ip("link set eth0 up")?;
        }
        let pairs = Pairs {
            hosts,
            rules: vec![Rule::default(); hosts * hosts],
            counters: vec![Counters::default(); hosts * hosts],
        };
        let (links, stop) = (Links(Arc::new(Mutex::new(pairs))), Arc::new(AtomicBool::new(false)));
        let mut forwarding = Forwarding {
            taps,
            links: links.clone(),
            states: (0..hosts * hosts).map(|pair| Link::new(seed, pair)).collect(),
            queue: BinaryHeap::new(),
            serial: 0,
        };
        let stopping = Arc::clone(&stop);
        let thread = std::thread::Builder::new()
            .name("switch".into())
            .spawn(move || forwarding.run(&stopping))
            .context("thread of the switch")?;
        Ok(Self { links, stop, thread: Some(thread) })
    }

    /// The rules and counters.
    #[must_use]
    pub(crate) fn links(&self) -> &Links {
        &self.links
    }
}

impl Links {
    fn lock(&self) -> MutexGuard<'_, Pairs> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Sets the rule for frames from `from` to `to`.
    pub fn set(&self, from: Host, to: Host, rule: Rule) {
        let mut pairs = self.lock();
        let pair = pairs.index(from.0, to.0);
        if let Some(known) = pairs.rules.get_mut(pair) {
            *known = rule;
        }
    }

    /// Sets the rule for both directions.
    pub fn set_both(&self, one: Host, other: Host, rule: Rule) {
        self.set(one, other, rule);
        self.set(other, one, rule);
    }

    /// Forwards everything again.
    pub fn heal(&self) {
        self.lock().rules.fill(Rule::default());
    }

    /// Counters of the direction from `from` to `to`, since the start of the switch.
    #[must_use]
    pub fn counters(&self, from: Host, to: Host) -> Counters {
        let pairs = self.lock();
        pairs.counters.get(pairs.index(from.0, to.0)).copied().unwrap_or_default()
    }

    /// Frames of all directions that any rule touched.
    #[must_use]
    pub fn touched(&self) -> u64 {
        self.lock().counters.iter().map(Counters::touched).sum()
    }
}

impl Drop for Switch {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            // A panic of the thread has been printed already.
            let _ended = thread.join();
        }
    }
}

impl Pairs {
    fn index(&self, from: usize, to: usize) -> usize {
        from * self.hosts + to
    }
}

/// The state of one direction that only the thread uses.
struct Link {
    random: StdRng,
    /// When the last frame will have left, at the limited rate.
    busy_until: Instant,
}

impl Link {
    fn new(seed: u64, pair: usize) -> Self {
        let random = StdRng::seed_from_u64(seed ^ ((pair as u64 + 1) << 32));
        Self { random, busy_until: Instant::now() }
    }
}

/// The thread of the switch.
struct Forwarding {
    taps: Vec<File>,
    links: Links,
    states: Vec<Link>,
    queue: BinaryHeap<Waiting>,
    serial: u64,
}

/// A frame that waits for its time.
#[derive(PartialEq, Eq, PartialOrd, Ord)]
struct Waiting {
    due: Reverse<(Instant, u64)>,
    to: usize,
    frame: Vec<u8>,
}

impl Forwarding {
    fn run(&mut self, stop: &AtomicBool) {
        let mut frame = vec![0; 70_000];
        while !stop.load(Ordering::Relaxed) {
            self.deliver_due();
            for from in self.wait() {
                for _ in 0..BURST {
                    let read = self.taps.get(from).map(|mut tap| tap.read(&mut frame));
                    let Some(Ok(length)) = read else { break };
                    self.forward(from, frame.get(..length).unwrap_or_default());
                }
            }
        }
    }

    fn deliver_due(&mut self) {
        let now = Instant::now();
        while self.queue.peek().is_some_and(|waiting| waiting.due.0.0 <= now) {
            if let Some(waiting) = self.queue.pop() {
                self.deliver(waiting.to, &waiting.frame);
            }
        }
    }

    /// Waits for frames, at most until the next waiting frame is due. Returns the hosts that have frames.
    fn wait(&self) -> Vec<usize> {
        let due = self.queue.peek().map(|waiting| waiting.due.0.0);
        let wait = due.map_or(LONGEST_WAIT, |due| due.saturating_duration_since(Instant::now()));
        let timeout = Timespec::try_from(wait.min(LONGEST_WAIT)).unwrap_or_default();
        let mut polled: Vec<_> = self
            .taps
            .iter()
            .map(|tap| PollFd::from_borrowed_fd(tap.as_fd(), PollFlags::IN))
            .collect();
        if poll(&mut polled, Some(&timeout)).is_err() {
            return Vec::new();
        }
        let ready =
            polled.iter().enumerate().filter(|(_, fd)| fd.revents().contains(PollFlags::IN));
        ready.map(|(host, _)| host).collect()
    }

    fn forward(&mut self, from: usize, frame: &[u8]) {
        let Some([first, .., last]) = frame.get(..6) else { return };
        let broadcast = first & 1 == 1;
        let named = usize::from(*last).wrapping_sub(1);
        let receivers = 0..self.taps.len();
        for to in receivers.filter(|to| *to != from && (broadcast || *to == named)) {
            self.pass(from, to, frame);
        }
    }

    /// Applies the rule for one direction to one frame.
    fn pass(&mut self, from: usize, to: usize, frame: &[u8]) {
        let mut pairs = self.links.lock();
        let pair = pairs.index(from, to);
        let (Some(rule), Some(link)) = (pairs.rules.get(pair).copied(), self.states.get_mut(pair))
        else {
            return;
        };
        let Some(counters) = pairs.counters.get_mut(pair) else { return };
        counters.arrived += 1;
        if rule.cut {
            counters.cut += 1;
            return;
        }
        if hits(&mut link.random, rule.loss) {
            counters.lost += 1;
            return;
        }
        let twice = hits(&mut link.random, rule.duplicate);
        counters.duplicated += u64::from(twice);
        let mut due = Vec::new();
        for _ in 0..=usize::from(twice) {
            let mut copy = frame.to_vec();
            if hits(&mut link.random, rule.corrupt) {
                flip_a_bit(&mut link.random, &mut copy);
                counters.corrupted += 1;
            }
            let wait = link.wait(&rule, copy.len());
            counters.delayed += u64::from(!wait.is_zero());
            due.push((wait, copy));
        }
        drop(pairs);
        for (wait, copy) in due {
            if wait.is_zero() {
                self.deliver(to, &copy);
            } else if self.queue.len() < QUEUE {
                self.serial += 1;
                let due = Reverse((Instant::now() + wait, self.serial));
                self.queue.push(Waiting { due, to, frame: copy });
            }
        }
    }

    fn deliver(&self, to: usize, frame: &[u8]) {
        let Some(mut tap) = self.taps.get(to) else { return };
        // A full queue of the receiver drops the frame, as a switch does.
        if let Err(error) = tap.write(frame)
            && error.kind() != ErrorKind::WouldBlock
            && error.raw_os_error() != Some(rustix::io::Errno::IO.raw_os_error())
        {
            eprintln!("switch: host {to}: {error}");
        }
    }
}

impl Link {
    /// Time until a frame of `bytes` is delivered.
    fn wait(&mut self, rule: &Rule, bytes: usize) -> Duration {
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
        wait
    }
}

fn hits(random: &mut StdRng, probability: f64) -> bool {
    probability > 0.0 && random.random::<f64>() < probability
}

fn flip_a_bit(random: &mut StdRng, frame: &mut [u8]) {
    let at = random.random_range(0..frame.len().max(1));
    if let Some(byte) = frame.get_mut(at) {
        *byte ^= 1 << random.random_range(0..8);
    }
}
