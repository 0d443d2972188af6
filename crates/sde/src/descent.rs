//! A discrete algorithm as a Markov chain.

use crate::algorithm::{Algorithm, AscentGradient, Sampling};
use crate::chain::Chain;
use crate::error::Error;
use crate::lanes::LANES;
use crate::memory;
use crate::perturbed::{Expansion, Perturbed, direction};
use crate::problem::{Problem, mean_gradient, not_empty};
use crate::stream::Stream;
use rand::RngExt;
use rand::seq::SliceRandom;

/// The Markov chain of an [`Algorithm`] with learning rate η on a problem.
///
/// A step costs b per-sample gradients for SGD, 2b for the mean and the reweighted ascent gradient, n + b for the full
/// one.
#[derive(Clone, Copy, Debug)]
pub struct Descent<'a> {
    problem: &'a dyn Problem,
    algorithm: Algorithm,
    eta: f64,
}

impl<'a> Descent<'a> {
    /// The chain of `algorithm` with learning rate `eta`.
    ///
    /// # Errors
    /// [`Error::InvalidArgument`] if [`Algorithm::validate`] fails, the problem is empty, or η is not a positive
    /// number; [`Error::TooLarge`] if the gradients of a micro-batch, for [`LANES`] paths, take more than 4 GiB.
    pub fn new(problem: &'a dyn Problem, algorithm: Algorithm, eta: f64) -> Result<Self, Error> {
        not_empty(problem)?;
        algorithm.validate(problem.samples())?;
        if !(eta > 0. && eta.is_finite()) {
            return Err(Error::invalid(format!("eta is {eta}; expected a finite number above 0")));
        }
        let (d, micro, batch) = (problem.dim(), algorithm.micro, algorithm.batch);
        memory::fits(
            &format!("a step with micro-batches of {micro} and batches of {batch} in {d} dimensions"),
            memory::numbers((4. + micro as f64 + LANES as f64) * d as f64 + batch as f64),
            "make micro or batch smaller",
        )?;
        Ok(Self { problem, algorithm, eta })
    }
}

impl Chain for Descent<'_> {
    fn dim(&self) -> usize {
        self.problem.dim()
    }

    fn scratch(&self) -> usize {
        (4 + self.algorithm.micro) * self.problem.dim()
    }

    fn step(&self, x: &mut [f64], stream: &mut Stream, scratch: &mut [f64]) {
        let &Self { problem, ref algorithm, eta } = self;
        let d = x.len();
        let (full, rest) = scratch.split_at_mut(d);
        let (u, rest) = rest.split_at_mut(d);
        let (gradient, rest) = rest.split_at_mut(d);
        let (point, rest) = rest.split_at_mut(d);
        let gradients = &mut rest[..algorithm.micro * d];
        let batch = draw(algorithm.sampling, problem.samples(), algorithm.batch, stream);
        if algorithm.ascent == AscentGradient::Full {
            mean_gradient(problem, x, full);
        }
        gradient.fill(0.);
        let share = 1. / algorithm.micro as f64;
        for members in batch.chunks_exact(algorithm.micro) {
            if !matches!(algorithm.ascent, AscentGradient::None | AscentGradient::Full) {
                gradients.fill(0.);
                let each = members.iter().zip(gradients.chunks_exact_mut(d));
                each.for_each(|(&i, g)| problem.add_gradient(i, x, 1., g));
            }
            direction(algorithm, gradients.chunks_exact(d).map(|g| (g, share)), full, u);
            let perturbed = Perturbed { problem, rho: algorithm.rho, x, u };
            let members = members.iter().map(|&i| (i, share));
            perturbed.add_gradient(Expansion::Exact, members, 1. / algorithm.micro_batches() as f64, gradient, point);
        }
        x.iter_mut().zip(gradient).for_each(|(x, g)| *x -= eta * *g);
    }
}

/// A batch of b among n, in random order.
fn draw(sampling: Sampling, n: usize, b: usize, stream: &mut Stream) -> Vec<usize> {
    match sampling {
        Sampling::WithReplacement => (0..b).map(|_| stream.random_range(0..n)).collect(),
        Sampling::WithoutReplacement => {
            // Floyd: a uniform subset in b draws; its order is not uniform, so it is shuffled.
            let mut chosen = Vec::with_capacity(b);
            for last in n - b..n {
                let candidate = stream.random_range(0..=last);
                chosen.push(if chosen.contains(&candidate) { last } else { candidate });
            }
            chosen.shuffle(stream);
            chosen
        }
    }
}
