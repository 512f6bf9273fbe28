//! A user-space Ethernet switch with faults for each direction of each pair of hosts.
//!
//! One thread reads frames from the TAP interface of every host and writes them to the interface of the receiver, which
//! the last byte of the address names. A frame that a rule of [`Links`] delays waits in a heap, ordered by the time at
//! which it is due. Broadcasts (ARP) go to all other hosts, each under the rule for its pair.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::fs::File;
use std::io::{ErrorKind, Read, Write};
use std::os::fd::AsFd;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use rustix::event::{PollFd, PollFlags, Timespec, poll};

use crate::ioctl::open_tap;
use crate::links::{Host, Links};
use crate::namespace::Namespace;

/// The switch. Its thread ends when the value is dropped.
#[derive(Debug)]
pub(crate) struct Switch {
    links: Links,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
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
        let (links, stop) = (Links::new(hosts, seed), Arc::new(AtomicBool::new(false)));
        let mut forwarding =
            Forwarding { taps, links: links.clone(), queue: BinaryHeap::new(), serial: 0 };
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

impl Drop for Switch {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            // A panic of the thread has been printed already.
            let _ended = thread.join();
        }
    }
}

/// The thread of the switch.
struct Forwarding {
    taps: Vec<File>,
    links: Links,
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
        for (wait, copy) in self.links.frame(Host(from), Host(to), frame) {
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
