//! Times of runs, which can be compared on one machine alone.

use super::table::groups;
use crate::host::Host;
use crate::run::outcome::RunRow;

/// The machine, with the threads that computed, on which most of some rules were run.
pub struct Machine<'a>(Option<&'a Host>);

impl<'a> Machine<'a> {
    /// Of some rows. A run that was taken up on another machine counts for none.
    pub fn of(rows: &'a [RunRow]) -> Self {
        let mut hosts: Vec<&Host> = Vec::new();
        for row in rows.iter().filter(|row| is_timed(row)) {
            if !hosts.iter().any(|known| known.computes_like(&row.host)) {
                hosts.push(&row.host);
            }
        }
        let groups = groups(rows);
        let rules = |host: &&Host| {
            let has_one = |group: &&Vec<&RunRow>| group.iter().any(|row| is_timed(row) && row.host.computes_like(host));
            groups.iter().filter(has_one).count()
        };
        // Of several the first.
        Self(hosts.into_iter().rev().max_by_key(rules))
    }

    /// The least time of an epoch of some runs, in seconds, since other work on a machine makes an epoch longer and
    /// never shorter; none if none was timed on it.
    pub fn least_seconds(&self, group: &[&RunRow]) -> Option<f64> {
        let is_here = |row: &&&RunRow| is_timed(row) && self.0.is_some_and(|host| row.host.computes_like(host));
        let all = group.iter().filter(is_here).flat_map(|row| &row.content.curve).map(|line| line.seconds);
        all.filter(|seconds| *seconds > 0.).reduce(f64::min)
    }

    /// The same for a table.
    pub fn seconds_an_epoch(&self, group: &[&RunRow]) -> String {
        self.least_seconds(group).map_or("–".to_owned(), |least| format!("{least:.2}"))
    }

    /// What times of an epoch are, of a page.
    pub fn explained(&self) -> String {
        self.0.map_or(String::new(), |host| {
            format!(
                "*s an epoch* is the least time that an epoch took on {}, and – for a rule without a run there.",
                host.computing()
            )
        })
    }
}

/// Whether all of a run was made on one machine, in epochs that were timed.
fn is_timed(row: &RunRow) -> bool {
    let is_of_one = row.content.earlier.iter().all(|maker| maker.host.computes_like(&row.host));
    is_of_one && row.content.curve.iter().any(|line| line.seconds > 0.)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::page::table::tests::{point, row};
    use crate::run::outcome::{EpochLine, Maker};

    fn timed(rule: &str, seed: u64, threads: usize, seconds: f64) -> RunRow {
        let mut row = row(rule, seed, Some(0.5));
        row.host.threads = threads;
        row.content.curve = vec![EpochLine { seconds, ..point(1, 0.5, &[]) }];
        row
    }

    #[test]
    fn times_are_those_of_the_machine_that_most_rules_have() {
        let mut resumed = timed("sam", 2, 1, 1.);
        let other = Host { threads: 2, ..resumed.host.clone() };
        resumed.content.earlier.push(Maker { revision: String::new(), host: other, steps: 5 });
        let rows = [
            timed("sam", 0, 2, 1.5),
            timed("sgd", 0, 1, 3.),
            timed("sgd", 1, 1, 2.),
            timed("sam", 1, 1, 4.),
            resumed,
            timed("usam", 0, 2, 2.5),
            timed("n-sam", 0, 1, 5.),
        ];
        let machine = Machine::of(&rows);
        let found: Vec<String> = groups(&rows).iter().map(|group| machine.seconds_an_epoch(group)).collect();
        assert_eq!(found, ["4.00", "2.00", "–", "5.00"]);
        assert!(machine.explained().contains("on any, 1 thread,"), "{}", machine.explained());
    }

    #[test]
    fn runs_without_times_have_no_machine() {
        let rows = [row("sgd", 0, Some(0.5))];
        assert_eq!(Machine::of(&rows).seconds_an_epoch(&[&rows[0]]), "–");
        assert!(Machine::of(&rows).explained().is_empty());
    }
}
