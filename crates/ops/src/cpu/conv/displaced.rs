//! Convolutions whose weight is displaced for each micro-batch, and the gradients of micro-batches; see
//! `per_sample::micro`.

use super::algorithm::Algorithm;
use super::low_rank::LowRank;
use super::squares;
use crate::cpu::displaced::{Values, moved};
use crate::cpu::float::{Float, constant, with_float, with_slice};
use crate::cpu::parallel::{build, for_chunks};
use crate::cpu::squares::squares_of_rows;
use crate::graph::Precision;
use crate::layers::Geometry;
use crate::per_sample::groups::Groups;
use crate::per_sample::micro::Displacement;
use crate::per_sample::recorder::{Factors, Gradients, Terms};
use candle_core::{Result, Tensor, bail};
use std::ops::Range;

/// A convolution of a batch, and its samples.
#[derive(Clone, Copy)]
struct Batch {
    g: Geometry,
    groups: Groups,
}

impl Batch {
    fn of(g: &Geometry, groups: Groups) -> Self {
        Self { g: *g, groups }
    }

    /// The convolution of some samples.
    fn part(&self, samples: &Range<usize>) -> Geometry {
        Geometry { batch: self.images() * samples.len(), ..self.g }
    }

    /// Images of a sample: those of a linear map are its positions.
    fn images(&self) -> usize {
        self.g.batch / self.groups.samples.max(1)
    }

    /// Elements of x that a sample has.
    fn inputs(&self) -> usize {
        self.images() * self.g.height * self.g.width * self.g.c_in
    }

    /// Elements of y that a sample has.
    fn outputs(&self) -> usize {
        self.images() * self.g.out_height * self.g.out_width * self.g.c_out
    }

    /// What the samples have of x.
    fn x<'a, T>(&self, x: &'a [T], samples: &Range<usize>) -> &'a [T] {
        &x[samples.start * self.inputs()..samples.end * self.inputs()]
    }

    /// What the samples have of y.
    fn y<'a, T>(&self, y: &'a [T], samples: &Range<usize>) -> &'a [T] {
        &y[samples.start * self.outputs()..samples.end * self.outputs()]
    }
}

/// dW of every micro-batch: formed where they have no more elements than their factors; and their squared norms.
pub(super) fn weight_terms<T: Float>(
    g: &Geometry,
    groups: Groups,
    keeps: bool,
    [x, dy]: [&Tensor; 2],
) -> Result<Terms> {
    let (batch, samples) = (Batch::of(g, groups), groups.samples);
    let weights = g.window() * g.c_out;
    with_slice::<T, _>(x, |x_values| {
        with_slice::<T, _>(dy, |dy_values| {
            if keeps && groups.count() * weights <= x_values.len() + dy_values.len() {
                let formed = formed(&batch, x_values, dy_values);
                let squares = constant(squares_of_rows(&formed, groups.count()), groups.count())?;
                let gradients = Some(Gradients::Formed(constant(formed, (groups.count(), weights))?));
                return Ok(Terms { samples, squares, gradients });
            }
            // All micro-batches but a last shorter one have one geometry.
            let full = 0..samples / groups.size * groups.size;
            let of = |range: Range<usize>, len: usize| {
                squares::of_weights(&batch.part(&(0..len)), batch.x(x_values, &range), batch.y(dy_values, &range))
            };
            let mut squares = of(full.clone(), groups.size);
            if full.end < samples {
                squares.extend(of(full.end..samples, samples - full.end));
            }
            let gradients = keeps.then(|| Gradients::factors(x, dy, *g, Precision::F32));
            let squares = constant(squares, groups.count())?;
            Ok(Terms { samples, squares, gradients })
        })
    })
}

/// dW of every micro-batch, `[groups, c_out, c_in, kh, kw]`.
fn formed<T: Float>(batch: &Batch, x: &[T], dy: &[T]) -> Vec<T> {
    let weights = batch.g.window() * batch.g.c_out;
    each(batch.groups.count() * weights, weights, |j| gradient(batch, &batch.groups.of(j), x, dy))
}

/// dW of some samples.
fn gradient<T: Float>(batch: &Batch, samples: &Range<usize>, x: &[T], dy: &[T]) -> Vec<T> {
    Algorithm::of(&batch.part(samples)).grad_weight(batch.x(x, samples), batch.y(dy, samples))
}

/// Σ wⱼ dWⱼ, flat.
pub(crate) fn weighted_gradient(Factors { a, d, g, .. }: &Factors, groups: Groups, weights: &[f64]) -> Result<Tensor> {
    with_float!("weighted", a, T => {
        let outputs = Batch::of(g, groups).outputs();
        let scaled = with_slice::<T, _>(d, |d| {
            let mut scaled = d.to_vec();
            for_chunks(&mut scaled, outputs * groups.size, |j, d| {
                let weight = T::narrow(weights[j]);
                d.iter_mut().for_each(|d| *d *= weight);
            });
            Ok(scaled)
        })?;
        let dw = with_slice::<T, _>(a, |a| Ok(Algorithm::of(g).grad_weight(a, &scaled)))?;
        let len = dw.len();
        constant(dw, len)
    })
}

/// How a weight is displaced.
enum Way<'a, T> {
    /// W + εⱼ is made of these gradients.
    Formed(&'a [T]),
    /// And of those that these a and d have.
    FormedAgain([&'a [T]; 2]),
    /// ε is added as two thin products of these a and d.
    LowRank([&'a [T]; 2]),
}

/// Runs `f` with the way of the least work.
fn with_way<T: Float, R>(batch: &Batch, moved_by: &Displacement, f: impl FnOnce(Way<T>) -> R) -> Result<R> {
    match &*moved_by.gradients {
        Gradients::Formed(gradients) => with_slice(gradients, |gradients| Ok(f(Way::Formed(gradients)))),
        Gradients::Factors(Factors { g, .. }) if *g != batch.g => bail!(
            "a convolution {:?} is displaced by the gradient of {g:?}; expected the same batch in both passes",
            batch.g
        ),
        Gradients::Factors(Factors { a, d, .. }) => with_slice(a, |a| {
            with_slice(d, |d| {
                let one = batch.part(&batch.groups.of(0));
                let thin = LowRank::of(&one).multiplications() <= work_of_forming(&one);
                Ok(f(if thin { Way::LowRank([a, d]) } else { Way::FormedAgain([a, d]) }))
            })
        }),
    }
}

/// Multiplications of εⱼ, and about as many as it takes to add it and to pack the sum.
fn work_of_forming(one: &Geometry) -> usize {
    Algorithm::of(one).multiplications() + 8 * one.window() * one.c_out
}

/// y of a convolution whose weight, or bias, or both are displaced.
pub(super) fn forward<T: Float>(
    g: &Geometry,
    x: &[T],
    (weight, moved_by): (&[T], Option<&Displacement>),
    bias: Option<(&[T], Option<&Displacement>)>,
    groups: Groups,
) -> Result<Vec<T>> {
    let batch = Batch::of(g, groups);
    let bias =
        bias.map(|(bias, moved_by)| Values::of("convolution", bias, moved_by, (groups.samples, 1))).transpose()?;
    let bias_of = |j: usize| bias.as_ref().map(|bias| bias.of_row(groups.of(j).start));
    // What all have in common, and what each micro-batch adds.
    let plus = |add: &(dyn Fn(usize, &mut [T]) + Sync)| {
        let mut y = Algorithm::of(g).forward(x, weight, None);
        for_chunks(&mut y, batch.outputs() * groups.size, |j, y| {
            add(j, y);
            if let Some(bias) = bias_of(j) {
                y.chunks_exact_mut(bias.len().max(1)).for_each(|y| y.iter_mut().zip(bias).for_each(|(y, b)| *y += *b));
            }
        });
        y
    };
    let of_each = |weight_of: &(dyn Fn(usize) -> Vec<T> + Sync)| {
        each(g.pixels() * g.c_out, batch.outputs() * groups.size, |j| {
            let samples = groups.of(j);
            Algorithm::of(&batch.part(&samples)).forward(batch.x(x, &samples), &weight_of(j), bias_of(j))
        })
    };
    let Some(moved_by) = moved_by else { return Ok(plus(&|_, _| ())) };
    let scales = &moved_by.scales.to_vec1::<f64>()?;
    with_way(&batch, moved_by, |way| match way {
        Way::LowRank([a, d]) => plus(&|j, y| {
            let samples = groups.of(j);
            let [x, a, d] = [batch.x(x, &samples), batch.x(a, &samples), batch.y(d, &samples)];
            LowRank::of(&batch.part(&samples)).add_output(scales[j], x, a, d, y);
        }),
        Way::Formed(gradients) => of_each(&|j| kept(weight, scales, gradients, j)),
        Way::FormedAgain(factors) => of_each(&|j| again(&batch, weight, scales, factors, j)),
    })
}

/// dx of a convolution whose weight is displaced.
pub(super) fn grad_input<T: Float>(
    g: &Geometry,
    weight: &[T],
    dy: &[T],
    moved_by: &Displacement,
    groups: Groups,
) -> Result<Vec<T>> {
    let (batch, scales) = (Batch::of(g, groups), &moved_by.scales.to_vec1::<f64>()?);
    let of_each = |weight_of: &(dyn Fn(usize) -> Vec<T> + Sync)| {
        each(batch.inputs() * groups.samples, batch.inputs() * groups.size, |j| {
            let samples = groups.of(j);
            Algorithm::of(&batch.part(&samples)).grad_input(&weight_of(j), batch.y(dy, &samples))
        })
    };
    with_way(&batch, moved_by, |way| match way {
        Way::LowRank([a, d]) => {
            let mut dx = Algorithm::of(g).grad_input(weight, dy);
            for_chunks(&mut dx, batch.inputs() * groups.size, |j, dx| {
                let samples = groups.of(j);
                let [dy, a, d] = [batch.y(dy, &samples), batch.x(a, &samples), batch.y(d, &samples)];
                LowRank::of(&batch.part(&samples)).add_grad_input(scales[j], dy, a, d, dx);
            });
            dx
        }
        Way::Formed(gradients) => of_each(&|j| kept(weight, scales, gradients, j)),
        Way::FormedAgain(factors) => of_each(&|j| again(&batch, weight, scales, factors, j)),
    })
}

/// W + εⱼ, of a gradient that is there.
fn kept<T: Float>(weight: &[T], scales: &[f64], gradients: &[T], j: usize) -> Vec<T> {
    moved(weight, scales[j], &gradients[j * weight.len()..][..weight.len()])
}

/// W + εⱼ, of one that is formed again.
fn again<T: Float>(batch: &Batch, weight: &[T], scales: &[f64], [a, d]: [&[T]; 2], j: usize) -> Vec<T> {
    moved(weight, scales[j], &gradient(batch, &batch.groups.of(j), a, d))
}

/// What `of` yields for every micro-batch, in one vector: `chunk` elements of each but a last one that has fewer.
fn each<T: Float>(len: usize, chunk: usize, of: impl Fn(usize) -> Vec<T> + Sync) -> Vec<T> {
    // SAFETY: a copy of a slice of another length than the chunk's panics, so every element is written.
    unsafe {
        build(len, chunk, |j, out| {
            out.write_copy_of_slice(&of(j));
        })
    }
}
