//! Bounds of one run: steps and stack.
//!
//! The interpreter calls back for every operation on values, and for every call of a definition. Each of these calls
//! is charged here. A run that has no steps left, or that is nested too deeply, must end at once, also inside of an
//! endless `repeat(.)`. The interpreter has no way to be told so. So [`charge`] unwinds the stack up to [`run`], which
//! catches exactly that, and turns it into an error. The hook for panics is not called.
//!
//! Steps and not time are counted, so that the result is the same on every machine. The bound on the stack depends on
//! the build. It is far above what a query on keys needs.

use std::cell::Cell;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};

/// Why a run was ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Exhausted {
    /// The run took too many steps, or made too much data.
    #[error("query took too many steps")]
    Steps,
    /// Calls or values are nested too deeply.
    #[error("query is nested too deeply")]
    Stack,
    /// The interpreter broke.
    #[error("query failed in the interpreter")]
    Panic,
}

/// Stack that a run may use. Threads have at least 2 MiB, and the caller needs some of it.
const STACK_BYTES: usize = 768 * 1024;

thread_local! {
    /// Steps that are left. Without a run, there is no bound.
    static STEPS: Cell<u64> = const { Cell::new(u64::MAX) };
    /// An address at the bottom of the run's stack. 0 without a run.
    static BOTTOM: Cell<usize> = const { Cell::new(0) };
}

/// Runs `work` with at most `steps` steps.
pub(super) fn run<T>(steps: u64, work: impl FnOnce() -> T) -> Result<T, Exhausted> {
    STEPS.set(steps);
    BOTTOM.set(stack_address());
    let result = catch_unwind(AssertUnwindSafe(work));
    STEPS.set(u64::MAX);
    BOTTOM.set(0);
    result.map_err(|cause| cause.downcast_ref().copied().unwrap_or(Exhausted::Panic))
}

/// Counts `steps`, and ends the run if there are not as many left.
pub(super) fn charge(steps: u64) {
    match STEPS.get().checked_sub(steps) {
        Some(left) => STEPS.set(left),
        None => resume_unwind(Box::new(Exhausted::Steps)),
    }
    let bottom = BOTTOM.get();
    if bottom != 0 && bottom.abs_diff(stack_address()) > STACK_BYTES {
        resume_unwind(Box::new(Exhausted::Stack));
    }
}

/// Counts the work on `bytes` bytes.
pub(super) fn charge_bytes(bytes: usize) {
    charge(1 + bytes as u64 / 16);
}

/// Address of the current frame.
#[inline(never)]
fn stack_address() -> usize {
    let here = 0u8;
    std::hint::black_box(&raw const here).addr()
}
