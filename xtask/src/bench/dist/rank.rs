//! The steps of one rank, over any engine.

use super::super::subject::{Kind, Subject, SubjectArgs, WARM_UP};
use anyhow::{Context, Result};
use clap::ValueEnum;
use msharp_core::{Alone, Communicator, Perturbation};
use msharp_dist::{Engine, Metered, Ranks, Traffic};
use msharp_lab::config::EstimatorName;
use msharp_perturb::{m_sam, sampa};
use serde::{Deserialize, Serialize};
use std::time::Instant;

/// What a step does, and what of it is of one rank.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Rule {
    /// A gradient and an update
    Sgd,
    /// The perturbation of the whole batch, the same on all ranks
    Sam,
    /// The perturbation of the samples of each rank: m-SAM with as many
    LocalSam,
    /// The perturbation of each micro-batch, of 32 samples or of all that a rank has
    MSam,
    /// The perturbation of the whole batch, weighted by the norms of the samples' gradients (one probe)
    RwSam,
    /// The two gradients of SAMPa at once, each on one half of the ranks
    Sampa,
}

impl Rule {
    pub const ALL: [Rule; 6] = [Rule::Sgd, Rule::Sam, Rule::LocalSam, Rule::MSam, Rule::RwSam, Rule::Sampa];

    /// As it is written on the command line.
    pub fn name(self) -> &'static str {
        match self {
            Rule::LocalSam => "local-sam",
            Rule::Sampa => "sampa",
            other => other.kind().name(),
        }
    }

    /// What a rank computes.
    pub fn kind(self) -> Kind {
        match self {
            Rule::Sgd => Kind::Sgd,
            Rule::Sam | Rule::Sampa => Kind::Sam,
            Rule::LocalSam | Rule::MSam => Kind::MSam,
            Rule::RwSam => Kind::RwSam,
        }
    }

    fn of(self, subject: &Subject) -> Option<Box<dyn Perturbation>> {
        let own = subject.batch.len();
        match self {
            Rule::LocalSam => Some(Box::new(m_sam(RHO, own))),
            Rule::MSam => Some(Box::new(m_sam(RHO, own.min(MICRO_BATCH)))),
            Rule::Sampa => Some(Box::new(sampa(RHO, 0.2))),
            other => subject.rule(other.kind(), None),
        }
    }
}

/// ρ, on which the cost does not depend.
const RHO: f64 = 0.05;
/// m of m-SAM.
const MICRO_BATCH: usize = 32;

/// The timed steps of all ranks.
#[derive(Debug, Serialize, Deserialize)]
pub struct Steps {
    /// Of each step, in order of size: that of its slowest rank.
    pub times_ms: Vec<f64>,
    /// The same of steps that all ranks take at once, each for itself.
    pub apart_ms: Vec<f64>,
    /// The share of the ranks' time that they were in exchanges.
    pub communication: f64,
    /// Exchanges of a step.
    pub calls: usize,
    /// Bytes that this rank sent in a step.
    pub bytes: usize,
}

/// One step of a rank.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
struct Step {
    ms: f64,
    apart_ms: f64,
    in_communication_ms: f64,
}

/// Takes `args.steps` steps after some to warm up, together with the other ranks, which do the same; and after each of
/// them one that sends nothing.
pub fn steps<E: Engine>(engine: E, args: &SubjectArgs, rule: Rule) -> Result<Steps> {
    let ranks = Ranks(Metered::new(engine));
    let mut subject = Subject::new(args, EstimatorName::FiniteDifference)?;
    let (mut alone, mut rule) = (rule.of(&subject), rule.of(&subject));
    let (mut own, mut last) = (Vec::new(), Traffic::default());
    for repetition in 0..WARM_UP + args.steps {
        ranks.barrier()?; // all begin together, and the clock starts after it
        let (before, started) = (ranks.0.traffic(), Instant::now());
        subject.step_over(&ranks, &mut rule)?;
        let (ms, after) = (1e3 * started.elapsed().as_secs_f64(), ranks.0.traffic());
        last = since(before, after);
        ranks.barrier()?;
        let started = Instant::now();
        subject.step_over(&Alone, &mut alone)?;
        let apart_ms = 1e3 * started.elapsed().as_secs_f64();
        if repetition >= WARM_UP {
            own.push(Step { ms, apart_ms, in_communication_ms: 1e3 * last.time.as_secs_f64() });
        }
    }
    let all = ranks.gather(&serde_json::to_vec(&own)?)?;
    let all: Vec<Vec<Step>> =
        all.iter().map(|one| serde_json::from_slice(one)).collect::<Result<_, _>>().context("the steps of a rank")?;
    let of_slowest = |of: fn(&Step) -> f64| {
        let slowest = |i: usize| all.iter().map(|steps| of(&steps[i])).fold(0., f64::max);
        let mut times: Vec<f64> = (0..args.steps).map(slowest).collect();
        times.sort_by(f64::total_cmp);
        times
    };
    let (times_ms, apart_ms) = (of_slowest(|step| step.ms), of_slowest(|step| step.apart_ms));
    let sum = |of: fn(&Step) -> f64| all.iter().flatten().map(of).sum::<f64>();
    let communication = sum(|step| step.in_communication_ms) / sum(|step| step.ms);
    Ok(Steps { times_ms, apart_ms, communication, calls: last.calls, bytes: last.bytes })
}

/// What one rank of `size` sends in a step, and in how many exchanges: counted in this process alone.
pub fn count(size: usize, args: &SubjectArgs, rule: Rule) -> Result<Traffic> {
    let ranks = Ranks(Metered::new(Echo { size }));
    let mut subject = Subject::new(args, EstimatorName::FiniteDifference)?;
    let mut rule = rule.of(&subject);
    subject.step_over(&ranks, &mut rule)?; // the first one of some rules is another
    let before = ranks.0.traffic();
    subject.step_over(&ranks, &mut rule)?;
    Ok(since(before, ranks.0.traffic()))
}

fn since(before: Traffic, after: Traffic) -> Traffic {
    Traffic { calls: after.calls - before.calls, bytes: after.bytes - before.bytes, time: after.time - before.time }
}

/// Rank 0 of `size` ranks that all send what it sends: traffic without the others.
struct Echo {
    size: usize,
}

impl Engine for Echo {
    fn rank(&self) -> usize {
        0
    }

    fn size(&self) -> usize {
        self.size
    }

    /// GPUs have no use for messages that fit in caches.
    fn message(&self) -> usize {
        usize::MAX
    }

    fn exchange(&self, to: &[&[u8]], from: &mut [&mut [u8]]) -> candle_core::Result<()> {
        from.iter_mut().zip(to).skip(1).for_each(|(from, to)| from.copy_from_slice(to));
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bench::NETWORK;
    use msharp_dist::Threads;
    use msharp_models::{Architecture, Norm};

    /// 2 samples a rank.
    fn small() -> SubjectArgs {
        let (model, norm, batch) = (Architecture::ResNet8, Norm::Group(8), Some(2));
        SubjectArgs { model, norm, batch, threads: Some(1), steps: 1, json: false }
    }

    fn bytes(size: usize, rule: Rule) -> usize {
        count(size, &small(), rule).unwrap().bytes
    }

    #[test]
    fn local_sam_sends_what_sgd_sends_and_sam_twice_that() {
        let _alone = NETWORK.lock();
        for size in [2, 8, 512] {
            let sgd = bytes(size, Rule::Sgd);
            let d = Subject::new(&small(), EstimatorName::FiniteDifference).unwrap().params.count();
            let chunk = 4 * d.div_ceil(size); // and the number of samples
            assert_eq!(sgd, (size - 1) * (8 + 2 * chunk), "{size} ranks");
            assert_eq!([Rule::LocalSam, Rule::MSam].map(|rule| bytes(size, rule)), [sgd; 2], "{size} ranks");
            assert_eq!(bytes(size, Rule::Sam), 2 * sgd, "{size} ranks");
            // RW-SAM also gathers the norms of its samples, in f64: their length, and they. Its weighted gradient is a
            // sum, for which no number of samples is sent.
            assert_eq!(bytes(size, Rule::RwSam), 2 * sgd + (size - 1) * 2 * 8, "{size} ranks");
        }
        assert_eq!(bytes(1, Rule::Sam), 0);
    }

    #[test]
    fn what_is_counted_is_what_ranks_send() {
        let _alone = NETWORK.lock();
        for rule in Rule::ALL {
            let all: Vec<Steps> = std::thread::scope(|scope| {
                let start = |engine: Threads| scope.spawn(move || steps(engine, &small(), rule).unwrap());
                let ranks: Vec<_> = Threads::new(2).into_iter().map(start).collect();
                ranks.into_iter().map(|rank| rank.join().unwrap()).collect()
            });
            let counted = count(2, &small(), rule).unwrap();
            // Of SAMPa, rank 1 also sends the losses of the four samples of a step: rank 0 has none that it could echo.
            let (losses, gather) = if rule == Rule::Sampa { (4 * 8, 1) } else { (0, 0) };
            for found in all {
                assert_eq!((found.bytes, found.calls), (counted.bytes + losses, counted.calls + gather), "{rule:?}");
                assert_eq!((found.times_ms.len(), found.apart_ms.len()), (1, 1));
                assert!(found.communication > 0. && found.communication < 1., "{}", found.communication);
            }
        }
    }
}
