//! Makes a thread deterministic: hash orders and random numbers of all crates come from the seed.
//!
//! The crate mad-turmoil replaces `getrandom` and the clocks of libc in the whole process. The standard library keeps
//! some of what it got for each thread, so every run has a thread of its own. Only one run may be under way in a
//! process. Several processes may run side by side.

use std::sync::{Mutex, PoisonError};
use std::thread;

use mad_turmoil::time::SimClocksGuard;
use rand_of_mad_turmoil::SeedableRng;
use rand_of_mad_turmoil::rngs::StdRng;

/// Stack of a run. The futures of a node are large.
const STACK_BYTES: usize = 64 << 20;

/// Held while a run is under way.
static RUNNING: Mutex<()> = Mutex::new(());

/// Runs `job` on a thread of its own. All that it draws comes from `seed`.
///
/// # Errors
/// The text of a panic.
pub fn seeded<T: Send + 'static>(
    seed: u64,
    job: impl FnOnce() -> T + Send + 'static,
) -> Result<T, String> {
    let _only = RUNNING.lock().unwrap_or_else(PoisonError::into_inner);
    let thread = thread::Builder::new().stack_size(STACK_BYTES).spawn(move || {
        seed_random_numbers(seed);
        let _clocks = SimClocksGuard::init();
        job()
    });
    let thread = thread.map_err(|error| error.to_string())?;
    thread.join().map_err(|panic| {
        let text = panic.downcast_ref::<String>().map(String::as_str);
        text.or_else(|| panic.downcast_ref::<&str>().copied()).unwrap_or("a panic").to_owned()
    })
}

fn seed_random_numbers(seed: u64) {
    let seeded = StdRng::seed_from_u64(seed);
    match mad_turmoil::rand::try_rng() {
        Some(mut rng) => *rng = seeded,
        None => mad_turmoil::rand::set_rng(seeded),
    }
}
