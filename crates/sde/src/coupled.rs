//! Two chains with common random numbers.

use crate::chain::Chain;
use crate::stream::Stream;

/// Two chains with common random numbers, as one chain on x = (x₁, x₂). The difference of the two then needs far fewer
/// paths than with independent ones. Each chain has the same distribution as alone.
///
/// Two algorithms draw the same batches if their batch sizes and sampling agree. In every step both chains start from
/// the same new seed, so one may draw more numbers than the other.
#[derive(Clone, Copy, Debug)]
pub struct Coupled<A, B> {
    /// The chain of x₁, the first components of x.
    pub first: A,
    /// The chain of x₂, the other components.
    pub second: B,
}

impl<A: Chain, B: Chain> Chain for Coupled<A, B> {
    fn dim(&self) -> usize {
        self.first.dim() + self.second.dim()
    }

    fn scratch(&self) -> usize {
        self.first.scratch().max(self.second.scratch())
    }

    fn step(&self, x: &mut [f64], stream: &mut Stream, scratch: &mut [f64]) {
        let (first, second) = x.split_at_mut(self.first.dim());
        let shared = Stream::seeded(stream.bits());
        self.first.step(first, &mut shared.clone(), scratch);
        self.second.step(second, &mut shared.clone(), scratch);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::problems::Quadratic;
    use crate::{Algorithm, Descent, Ensemble, StepMoments, at, silent};

    /// The difference of an algorithm from itself is none, and that of two is far less noisy than they are.
    #[test]
    fn both_see_the_same_batches() {
        let problem = Quadratic::random(5, 1, 3);
        let descent = |algorithm| Descent::new(&problem, algorithm, 0.1).unwrap();
        let ensemble = Ensemble { paths: 500, seed: 1, steps: 3, every: 3 };
        let variance = |chain: Coupled<_, _>| {
            let all =
                ensemble.run(&chain, at(&[1., 1.]), 2, |x, out| out.copy_from_slice(&[x[0] - x[1], x[0]]), &silent);
            all.unwrap()[1].outputs.iter().map(|output| output.variance).collect::<Vec<f64>>()
        };
        let same =
            variance(Coupled { first: descent(Algorithm::usam(0.1, 2)), second: descent(Algorithm::usam(0.1, 2)) });
        assert_eq!(same[0], 0.);
        let two =
            variance(Coupled { first: descent(Algorithm::usam(0.1, 2)), second: descent(Algorithm::n_usam(0.1, 2)) });
        assert!(two[0] > 0. && two[0] < two[1] / 20., "{two:?}");
    }

    /// If the second went on from where the first began, it would draw again what it had drawn before.
    #[test]
    fn each_has_the_law_that_it_has_alone() {
        let problem = Quadratic::random(5, 1, 3);
        let descent = |b: usize| Descent::new(&problem, Algorithm::sgd(b), 0.1).unwrap();
        let ensemble = Ensemble { paths: 40_000, seed: 4, steps: 20, every: 20 };
        let both = Coupled { first: descent(1), second: descent(2) };
        let pair = ensemble.run(&both, at(&[0., 0.]), 1, |x, out| out[0] = x[1] * x[1], &silent).unwrap();
        let alone = StepMoments::new(&problem, Algorithm::sgd(2), 0.1).unwrap().after(20, &[0.]).second[0];
        let off = (pair[1].outputs[0].mean - alone) / pair[1].outputs[0].standard_error();
        assert!(off.abs() < 4., "{off:.1} standard errors");
    }
}
