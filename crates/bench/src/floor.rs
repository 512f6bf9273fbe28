//! `anabranch-bench floor`: the physical limits of this machine: the time of a sync, and of a round trip over
//! loopback.
//!
//! Each size is written and synced for a while, once to a file that grows and once to a preallocated file that is
//! overwritten. No server can acknowledge a record faster than that.

use std::{
    fs::{self, File, OpenOptions},
    io::{Read as _, Write as _},
    net::{TcpListener, TcpStream},
    os::unix::fs::FileExt,
    path::{Path, PathBuf},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context, Result};
use serde_json::{Value, json};

/// Bytes of the preallocated file.
const FILE_BYTES: u64 = 64 << 20;

/// Options of the measurement.
#[derive(Debug, clap::Args)]
pub(crate) struct Args {
    /// Directory on the disk to measure; a file is made there and removed
    #[arg(long, default_value = ".")]
    data_dir: PathBuf,
    /// How long each size is measured
    #[arg(long, default_value_t = 1000)]
    milliseconds: u64,
}

/// Measures what `args` say and prints one JSON line.
///
/// # Errors
/// When the directory cannot be written, or loopback cannot be connected.
pub(crate) fn run(args: Args) -> Result<()> {
    let path = args.data_dir.join(format!("bench-floor-{}", std::process::id()));
    let time = Duration::from_millis(args.milliseconds);
    let measured = syncs(&path, time);
    if path.exists() {
        fs::remove_file(&path)?;
    }
    let line = json!({
        "bench": "floor",
        "fdatasync": measured?,
        "tcp_round_trip": round_trips(time)?,
    });
    println!("{line}");
    Ok(())
}

fn syncs(path: &Path, time: Duration) -> Result<Vec<Value>> {
    let mut measured = Vec::new();
    for bytes in [4 << 10, 64 << 10, 1 << 20] {
        for preallocated in [false, true] {
            let file = create(path, preallocated)?;
            let samples = sync_samples(&file, bytes, preallocated, time)?;
            measured.push(json!({
                "bytes": bytes,
                "file": if preallocated { "preallocated" } else { "growing" },
                "times": spread(samples),
            }));
        }
    }
    Ok(measured)
}

fn create(path: &Path, preallocated: bool) -> Result<File> {
    let file = OpenOptions::new().write(true).create(true).truncate(true).open(path);
    let file = file.with_context(|| format!("make {}", path.display()))?;
    if preallocated {
        let zeroes = vec![0; 1 << 20];
        for offset in (0..FILE_BYTES).step_by(zeroes.len()) {
            file.write_all_at(&zeroes, offset)?;
        }
    }
    file.sync_all()?;
    Ok(file)
}

fn sync_samples(
    file: &File,
    bytes: usize,
    preallocated: bool,
    time: Duration,
) -> Result<Vec<Duration>> {
    let data = vec![7; bytes];
    let mut samples = Vec::new();
    let mut offset = 0;
    let begun = Instant::now();
    while begun.elapsed() < time {
        let start = Instant::now();
        file.write_all_at(&data, offset)?;
        file.sync_data()?;
        samples.push(start.elapsed());
        offset += bytes as u64;
        if preallocated {
            offset %= FILE_BYTES;
        }
    }
    Ok(samples)
}

/// One byte to an echo server over loopback and back.
fn round_trips(time: Duration) -> Result<Value> {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let mut near = TcpStream::connect(listener.local_addr()?)?;
    let (mut far, _) = listener.accept()?;
    near.set_nodelay(true)?;
    far.set_nodelay(true)?;
    let echo = thread::spawn(move || -> std::io::Result<()> {
        let mut byte = [0];
        while far.read(&mut byte)? == 1 {
            far.write_all(&byte)?;
        }
        Ok(())
    });
    let mut samples = Vec::new();
    let mut byte = [1];
    let begun = Instant::now();
    while begun.elapsed() < time {
        let start = Instant::now();
        near.write_all(&byte)?;
        near.read_exact(&mut byte)?;
        samples.push(start.elapsed());
    }
    drop(near);
    if let Ok(ended) = echo.join() {
        ended?;
    }
    Ok(spread(samples))
}

fn spread(mut samples: Vec<Duration>) -> Value {
    samples.sort_unstable();
    let at = |permille: usize| {
        let sample = samples.get(samples.len() * permille / 1000);
        sample.map_or(f64::NAN, |sample| sample.as_secs_f64() * 1e6)
    };
    json!({
        "count": samples.len(),
        "p50_us": (at(500) * 10.0).round() / 10.0,
        "p99_us": (at(990) * 10.0).round() / 10.0,
    })
}
