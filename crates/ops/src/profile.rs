//! The time of a step, op by op.

use std::collections::BTreeMap;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

/// The time that calls of one op with one shape took, wall time of the caller.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Timing {
    /// Number of calls.
    pub calls: u64,
    /// Wall time of all of them.
    pub time: Duration,
    /// Multiplications and additions of the op's definition, whether an algorithm makes them or not; 0 where they do
    /// not matter.
    pub flop: f64,
}

static ON: AtomicBool = AtomicBool::new(false);
static TIMINGS: Mutex<BTreeMap<String, Timing>> = Mutex::new(BTreeMap::new());

/// Runs `f` and returns with its result the time that our ops took in it, on any thread, by name, shape and pass. The
/// rest of the time is candle's own: the sums and zeros of its graph, and its ops.
///
/// One profile at a time: a second one inside it, or beside it, would share its numbers.
pub fn profile<R>(f: impl FnOnce() -> R) -> (R, BTreeMap<String, Timing>) {
    let timings = || TIMINGS.lock().map(|mut timings| std::mem::take(&mut *timings)).unwrap_or_default();
    timings();
    ON.store(true, Ordering::Relaxed);
    let result = f();
    ON.store(false, Ordering::Relaxed);
    (result, timings())
}

/// Runs `f`, and records its time under a name inside [`profile`].
pub(crate) fn timed<R>(name: impl FnOnce() -> (String, f64), f: impl FnOnce() -> R) -> R {
    if !ON.load(Ordering::Relaxed) {
        return f();
    }
    let start = Instant::now();
    let result = f();
    let time = start.elapsed();
    let (name, flop) = name();
    if let Ok(mut timings) = TIMINGS.lock() {
        let timing = timings.entry(name).or_default();
        timing.calls += 1;
        timing.time += time;
        timing.flop += flop;
    }
    result
}
