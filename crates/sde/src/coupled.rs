//! Two chains with the same chance.

use crate::chain::Chain;
use crate::stream::Stream;

/// Two chains side by side, x = (x₁, x₂), whose every step draws the same random numbers: what differs between them is
/// then seen through far fewer paths than from independent ones.
///
/// Two algorithms draw the same batches if their sizes and sampling agree. Both chains must draw equally much in a
/// step: if the second drew more than the first, it would draw the rest again in its next step, and its law would be
/// another.
#[derive(Clone, Copy, Debug)]
pub struct Coupled<A, B> {
    /// Moves the first half.
    pub first: A,
    /// Moves the second half; of the same dimension.
    pub second: B,
}

impl<A: Chain, B: Chain> Chain for Coupled<A, B> {
    fn dim(&self) -> usize {
        2 * self.first.dim()
    }

    fn scratch(&self) -> usize {
        self.first.scratch().max(self.second.scratch())
    }

    fn step(&self, x: &mut [f64], stream: &mut Stream, scratch: &mut [f64]) {
        let (first, second) = x.split_at_mut(self.first.dim());
        let mut again = stream.clone();
        self.first.step(first, stream, scratch);
        self.second.step(second, &mut again, scratch);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::problems::Quadratic;
    use crate::{Algorithm, Descent, Ensemble, at, silent};

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
}
