//! How long ranks wait for each other before the first step.

use super::Limits;
use crate::Place;
use candle_core::{Result, bail};
use std::thread;
use std::time::{Duration, Instant};

/// The time that ranks have to meet.
pub(super) struct Deadline<'a> {
    pub limits: Limits,
    pub rank: usize,
    pub place: &'a Place,
    say: &'a dyn Fn(&str),
    started: Instant,
    was_said: bool,
}

impl<'a> Deadline<'a> {
    /// From now on, of `rank`.
    pub fn new(limits: Limits, rank: usize, place: &'a Place, say: &'a dyn Fn(&str)) -> Self {
        Self { limits, rank, place, say, started: Instant::now(), was_said: false }
    }

    /// How much time is left.
    pub fn left(&self) -> Duration {
        self.limits.meeting.saturating_sub(self.started.elapsed())
    }

    /// Waits a moment for the ranks that are `missing`. After some seconds, the lowest rank that is there says so once,
    /// and `why`, if that is known.
    ///
    /// # Errors
    /// If the time is over: the same.
    pub fn wait(&mut self, missing: &[usize], why: &str) -> Result<()> {
        let (place, elapsed) = (self.place, self.started.elapsed());
        let why = || if why.is_empty() { String::new() } else { format!(" ({why})") };
        if elapsed > self.limits.meeting {
            let why = why();
            bail!(
                "{} did not come to {place} within {} s{why}; expected all ranks with this MASTER_ADDR and MASTER_PORT, and \
                 no firewall between them",
                named(missing),
                self.limits.meeting.as_secs_f64()
            )
        }
        if elapsed > self.limits.notice && !self.was_said && (0..self.rank).all(|rank| missing.contains(&rank)) {
            self.was_said = true;
            (self.say)(&format!("waiting for {} at {place}{}", named(missing), why()));
        }
        thread::sleep(Duration::from_millis(if elapsed < Duration::from_secs(1) { 5 } else { 50 }));
        Ok(())
    }
}

/// `rank 3`, `ranks 2, 3`; of many, the first.
fn named(ranks: &[usize]) -> String {
    const MOST: usize = 16;
    let all: Vec<String> = ranks.iter().take(MOST).map(usize::to_string).collect();
    let more = if ranks.len() > MOST { format!(" and {} more", ranks.len() - MOST) } else { String::new() };
    format!("{} {}{more}", if ranks.len() == 1 { "rank" } else { "ranks" }, all.join(", "))
}
