//! `anabranch-bench log`: the segment store against a bare file that takes the same batches.
//!
//! Both write in the same run, in turns, and medians are compared: other load on the machine slows both down. The
//! store retains a few segments and is warmed up until its segments are reused, as after a long run of a server.

use std::{
    collections::VecDeque,
    fs::{self, File, OpenOptions},
    os::unix::fs::FileExt,
    path::{Path, PathBuf},
    sync::{Arc, mpsc},
    time::Instant,
};

use anabranch_storage::{Entry, GroupLog, LogStore, SegmentStore, Stats, StorageSettings};
use anabranch_types::{GroupId, LogId};
use anyhow::{Context, Result, anyhow};
use bytes::Bytes;
use rand::RngCore;
use serde_json::{Value, json};

use crate::processes::{Usage, device_bytes};
use crate::report::rounded;

/// Bytes that are retained; older entries are purged.
const RETAINED_BYTES: u64 = 512 << 20;
/// Batches under way at a time: one is written while the next waits.
const IN_FLIGHT: usize = 2;

/// Options of the measurement.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Raft groups; each batch is distributed over them
    #[arg(long, default_value_t = 64)]
    groups: u64,
    /// Payload of an entry in bytes
    #[arg(long, default_value_t = 1024)]
    entry_bytes: usize,
    /// Payload of a batch in bytes; the bare file is synced after each batch
    #[arg(long, default_value_t = 1 << 20)]
    batch_bytes: usize,
    /// Payload of a round in bytes, written once to the store and once to the file
    #[arg(long, default_value_t = 1 << 30)]
    total_bytes: u64,
    /// Rounds; medians are reported
    #[arg(long, default_value_t = 3)]
    rounds: usize,
    /// Directory on the disk to measure; a subdirectory is made there and removed
    #[arg(long, default_value = ".")]
    data_dir: PathBuf,
}

/// Measures what `args` say and prints one JSON line.
///
/// # Errors
/// When the directory cannot be written.
pub(crate) fn run(args: Args) -> Result<()> {
    let dir = args.data_dir.join(format!("bench-log-{}", std::process::id()));
    fs::create_dir_all(&dir).with_context(|| format!("make {}", dir.display()))?;
    let measured = measure(&args, &dir);
    fs::remove_dir_all(&dir).with_context(|| format!("remove {}", dir.display()))?;
    println!("{}", measured?);
    Ok(())
}

fn measure(args: &Args, dir: &Path) -> Result<Value> {
    let mut store = StoreLoad::open(args, &dir.join("store"))?;
    let mut bare = BareFile::create(args, &dir.join("bare"))?;
    store.write(3 * (128 << 20) + RETAINED_BYTES)?;
    let (mut of_store, mut of_bare) = (Vec::new(), Vec::new());
    let before = store.store.stats();
    for _ in 0..args.rounds {
        of_bare.push(Cost::of(dir, args.total_bytes, || bare.write(args.total_bytes))?);
        of_store.push(Cost::of(dir, args.total_bytes, || store.write(args.total_bytes))?);
    }
    let stats = store.store.stats();
    store.close()?;
    let ratio = median(&of_store, |cost| cost.mb_per_s) / median(&of_bare, |cost| cost.mb_per_s);
    Ok(json!({
        "bench": "log",
        "groups": args.groups,
        "entry_bytes": args.entry_bytes,
        "batch_bytes": args.batch_bytes,
        "total_bytes": args.total_bytes,
        "rounds": args.rounds,
        "ratio": rounded(ratio),
        "store": summary(&of_store),
        "bare": summary(&of_bare),
        "store_counters": counters(&before, &stats),
    }))
}

/// The store and its load.
struct StoreLoad {
    store: Arc<SegmentStore>,
    logs: Vec<Arc<dyn GroupLog>>,
    next: Vec<u64>,
    payloads: Vec<Bytes>,
    entries_per_batch: usize,
    /// Entries that each group retains.
    retained: u64,
    turn: usize,
}

impl StoreLoad {
    fn open(args: &Args, dir: &Path) -> Result<Self> {
        let store = SegmentStore::open(dir, StorageSettings::default())?;
        let logs: Result<Vec<_>, _> = (0..args.groups).map(|id| store.group(GroupId(id))).collect();
        Ok(Self {
            logs: logs?,
            store,
            next: vec![0; usize::try_from(args.groups)?],
            payloads: payloads(args.entry_bytes),
            entries_per_batch: (args.batch_bytes / args.entry_bytes).max(1),
            retained: (RETAINED_BYTES / args.groups / args.entry_bytes as u64).max(1),
            turn: 0,
        })
    }

    fn write(&mut self, bytes: u64) -> Result<()> {
        let batch_bytes = (self.entries_per_batch * self.payloads[0].len()) as u64;
        let mut under_way = VecDeque::new();
        for batch in 0..bytes.div_ceil(batch_bytes) {
            under_way.push_back(self.submit());
            if under_way.len() == IN_FLIGHT {
                wait(under_way.pop_front())?;
            }
            if batch.is_multiple_of((64 << 20) / batch_bytes + 1) {
                self.purge();
            }
        }
        under_way.into_iter().try_for_each(|batch| wait(Some(batch)))
    }

    /// Appends one batch, distributed over at most as many groups as it has entries.
    fn submit(&mut self) -> (mpsc::Receiver<Result<(), anabranch_storage::Error>>, usize) {
        let (sender, receiver) = mpsc::channel();
        let groups = self.logs.len().min(self.entries_per_batch);
        for part in 0..groups {
            let group = (self.turn + part) % self.logs.len();
            let count = self.entries_per_batch / groups
                + usize::from(part < self.entries_per_batch % groups);
            let first = self.next[group];
            let entries: Vec<Entry> = (first..first + count as u64)
                .map(|index| Entry {
                    log_id: LogId { term: 1, index },
                    payload: self.payload(index),
                })
                .collect();
            self.next[group] += count as u64;
            let sender = sender.clone();
            self.logs[group].append(entries, Box::new(move |result| drop(sender.send(result))));
        }
        self.turn = (self.turn + groups) % self.logs.len();
        (receiver, groups)
    }

    fn payload(&self, index: u64) -> Bytes {
        let at = usize::try_from(index).unwrap_or(0) % self.payloads.len();
        self.payloads[at].clone()
    }

    fn purge(&self) {
        for (log, next) in self.logs.iter().zip(&self.next) {
            if let Some(index) = next.checked_sub(self.retained + 1) {
                log.purge(LogId { term: 1, index }, Box::new(|_| {}));
            }
        }
    }

    fn close(self) -> Result<()> {
        let runtime = tokio::runtime::Builder::new_current_thread().build()?;
        runtime.block_on(self.store.close());
        Ok(())
    }
}

fn wait(
    batch: Option<(mpsc::Receiver<Result<(), anabranch_storage::Error>>, usize)>,
) -> Result<()> {
    let Some((receiver, parts)) = batch else { return Ok(()) };
    for _ in 0..parts {
        receiver.recv().map_err(|_| anyhow!("the store dropped a completion"))??;
    }
    Ok(())
}

/// A preallocated file that was written before. Each batch is one write and one fdatasync.
struct BareFile {
    file: File,
    batch: Vec<u8>,
    bytes: u64,
    offset: u64,
}

impl BareFile {
    fn create(args: &Args, path: &Path) -> Result<Self> {
        let file = OpenOptions::new().write(true).create(true).truncate(true).open(path)?;
        let bytes = RETAINED_BYTES.next_multiple_of(args.batch_bytes as u64);
        let zeroes = vec![0; 1 << 20];
        for offset in (0..bytes).step_by(zeroes.len()) {
            let count = (bytes - offset).min(zeroes.len() as u64);
            file.write_all_at(&zeroes[..usize::try_from(count)?], offset)?;
        }
        file.sync_all()?;
        let mut batch = vec![0; args.batch_bytes];
        rand::rng().fill_bytes(&mut batch);
        Ok(Self { file, batch, bytes, offset: 0 })
    }

    fn write(&mut self, bytes: u64) -> Result<()> {
        for _ in 0..bytes.div_ceil(self.batch.len() as u64) {
            self.file.write_all_at(&self.batch, self.offset)?;
            self.file.sync_data()?;
            self.offset = (self.offset + self.batch.len() as u64) % self.bytes;
        }
        Ok(())
    }
}

/// The cost of writing some bytes.
struct Cost {
    mb_per_s: f64,
    cpu_s_per_gb: f64,
    /// Bytes that the kernel charged to this process, per byte.
    process_bytes_per_byte: f64,
    /// Bytes that the device wrote meanwhile for all processes, per byte.
    device_bytes_per_byte: f64,
}

impl Cost {
    fn of(dir: &Path, bytes: u64, work: impl FnOnce() -> Result<()>) -> Result<Self> {
        let (cpu_s, io) = (Usage::own()?.cpu_s, process_writes()?);
        let device = device_bytes(dir).ok();
        let begun = Instant::now();
        work()?;
        let taken = begun.elapsed();
        let per_byte = |now: u64, before: u64| now.saturating_sub(before) as f64 / bytes as f64;
        Ok(Self {
            mb_per_s: bytes as f64 / 1e6 / taken.as_secs_f64(),
            cpu_s_per_gb: (Usage::own()?.cpu_s - cpu_s) / (bytes as f64 / 1e9),
            process_bytes_per_byte: per_byte(process_writes()?, io),
            device_bytes_per_byte: match (device_bytes(dir), device) {
                (Ok(now), Some(before)) => per_byte(now, before),
                _ => f64::NAN,
            },
        })
    }
}

fn summary(costs: &[Cost]) -> Value {
    json!({
        "mb_per_s": rounded(median(costs, |cost| cost.mb_per_s)),
        "cpu_s_per_gb": rounded(median(costs, |cost| cost.cpu_s_per_gb)),
        "process_bytes_per_byte": rounded(median(costs, |cost| cost.process_bytes_per_byte)),
        "device_bytes_per_byte": rounded(median(costs, |cost| cost.device_bytes_per_byte)),
    })
}

fn counters(before: &Stats, after: &Stats) -> Value {
    let payload = (after.payload_bytes - before.payload_bytes) as f64;
    json!({
        "written_bytes_per_byte": rounded((after.written_bytes - before.written_bytes) as f64 / payload),
        "device_bytes_per_byte": rounded((after.device_bytes - before.device_bytes) as f64 / payload),
        "rounds": after.rounds - before.rounds,
        "syncs": after.syncs - before.syncs,
        "segments_reclaimed": after.segments_reclaimed - before.segments_reclaimed,
        "copied_forward_bytes": after.copied_forward_bytes - before.copied_forward_bytes,
    })
}

fn median(costs: &[Cost], value: impl Fn(&Cost) -> f64) -> f64 {
    let mut values: Vec<f64> = costs.iter().map(value).collect();
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(f64::NAN)
}

fn payloads(bytes: usize) -> Vec<Bytes> {
    let mut random = vec![0; bytes];
    (0..16)
        .map(|_| {
            rand::rng().fill_bytes(&mut random);
            Bytes::copy_from_slice(&random)
        })
        .collect()
}

/// Bytes that this process caused to be written (proc(5), io: `write_bytes`).
fn process_writes() -> Result<u64> {
    let io = fs::read_to_string("/proc/self/io")?;
    let line = io.lines().find_map(|line| line.strip_prefix("write_bytes: "));
    Ok(line.context("/proc/self/io has no write_bytes")?.parse()?)
}
