//! Normalisations with a fused epilogue: y = relu?(norm(x) + residual?).

mod batch;
mod group;
mod layer;
mod spans;

pub(crate) use batch::batch_norm;
pub(crate) use group::group_norm;
pub(crate) use layer::layer_norm;
pub(super) use spans::{masked, positive};

use super::displaced::Values;
use super::float::{Float, constant, on_cpu, with_float, with_slice};
use super::parallel::{add_up, zip_map};
use crate::graph::{Activation, Pass, Recorded};
use crate::layers::Epilogue;
use crate::per_sample::groups::Groups;
use crate::per_sample::recorder::{Part, Terms, take_part};
use crate::profile::timed;
use candle_core::{Result, Tensor};
use spans::{Affine, GradAffine, Spans};

/// Coefficients and statistics of a normalisation, all f64.
struct Normalised {
    spans: Spans,
    /// `[spans, c]`
    mean: Vec<f64>,
    /// `[spans, c]`: 1 / √(var + eps)
    rstd: Vec<f64>,
}

/// How the sums Σ g, Σ g x̂ `[spans][2 c]` and γ `[spans, c]` become the terms that dx gets through the statistics:
/// dx = rstd · (γ g − shift − slope x̂), both `[spans, c]`.
type Through = dyn Fn(&[Vec<f64>], &[f64]) -> Result<(Vec<f64>, Vec<f64>)> + Send + Sync;

/// The normalisation as a node of the graph; `x` is contiguous.
fn record<T: Float, X: Activation>(
    op: &'static str,
    activation: &X,
    (weight, bias): (&Tensor, &Tensor),
    normalised: Normalised,
    epilogue: Epilogue<X>,
    through: Box<Through>,
) -> Result<X> {
    let (relu, x) = (epilogue.relu, activation.values());
    let (weight, bias) = (&weight.input()?, &bias.input()?);
    let ghost = take_part(op, [weight, bias]);
    let affine = together(weight, bias, ghost.clone())?;
    let residual = epilogue.residual.map(Recorded::input).transpose()?;
    let samples = x.dims()[0];
    let y = timed(
        || named("forward", x.dims()),
        || {
            with_slice::<T, _>(x, |x| {
                let coefficients =
                    affine_of(&normalised, affine_of_spans::<T>(op, &affine, &ghost, (samples, &normalised.spans))?);
                match &residual {
                    Some(residual) => {
                        with_slice(residual.values(), |r| Ok(normalised.spans.apply(x, &coefficients, Some(r), relu)))
                    }
                    None => Ok(normalised.spans.apply(x, &coefficients, None, relu)),
                }
            })
        },
    )?;
    let back = Backward { op, normalised, through, ghost };
    match &residual {
        Some(residual) => {
            let maps = [activation, residual];
            X::record(
                op,
                &maps,
                &[&affine],
                on_cpu(y),
                x.shape(),
                move |Pass { inputs: [x, _, affine], wanted, y, dy }| {
                    let y = relu.then_some(y);
                    let wants = [wanted[0], wanted[2]];
                    // The residual's gradient is the one behind the ReLU, which then serves the others, too.
                    match y.filter(|_| wanted[1]) {
                        Some(y) => {
                            let mask = || with_slice(y, |y| with_slice(dy, |dy| Ok(zip_map(y, dy, masked::<T>))));
                            let g = constant(timed(|| named("mask", y.dims()), mask)?, dy.shape())?;
                            let [dx, d_affine] = backward::<T>(&back, x, affine, &g, None, wants)?;
                            Ok([dx, Some(g), d_affine])
                        }
                        None => {
                            let [dx, d_affine] = backward::<T>(&back, x, affine, dy, y, wants)?;
                            Ok([dx, wanted[1].then(|| dy.clone()), d_affine])
                        }
                    }
                },
            )
        }
        None => {
            let maps = [activation];
            X::record(
                op,
                &maps,
                &[&affine],
                on_cpu(y),
                x.shape(),
                move |Pass { inputs: [x, affine], wanted, y, dy }| {
                    backward::<T>(&back, x, affine, dy, relu.then_some(y), wanted)
                },
            )
        }
    }
}

/// What a backward keeps beside its inputs.
struct Backward {
    op: &'static str,
    normalised: Normalised,
    through: Box<Through>,
    ghost: Part<2>,
}

/// Weight and bias as one, `[2 c]`: candle's nodes have three inputs at most.
fn together(weight: &Tensor, bias: &Tensor, ghost: Part<2>) -> Result<Tensor> {
    let c = weight.elem_count();
    let both = with_float!("norm", weight, T => {
        on_cpu(with_slice::<T, _>(weight, |weight| with_slice(bias, |bias| Ok([weight, bias].concat())))?)
    });
    Tensor::record("affine", &[], &[weight, bias], both, 2 * c, move |Pass::<2> { wanted, dy, .. }| {
        // In a backward that measures, the norm has done so.
        let half = |k: usize| ghost.computes(k, wanted[k]).then(|| dy.narrow(0, k * c, c)).transpose();
        Ok([half(0)?, half(1)?])
    })
}

/// A pass over memory in a profile.
fn named(pass: &str, shape: &[usize]) -> (String, f64) {
    (format!("norm {shape:?} {pass}"), 0.0)
}

/// γ and β of every span, `[spans, c]` each, from both together and what they are displaced by.
fn affine_of_spans<T: Float>(
    op: &str,
    affine: &Tensor,
    part: &Part<2>,
    (samples, spans): (usize, &Spans),
) -> Result<[Vec<f64>; 2]> {
    with_slice::<T, _>(affine, |affine| {
        let of_spans = |k: usize| -> Result<Vec<f64>> {
            // Where a parameter is displaced, a span is a sample.
            let values = Values::of(op, &affine[k * spans.c..][..spans.c], part.displaced(k), (samples, 1))?;
            Ok((0..spans.spans).flat_map(|i| values.of_row(i).iter().map(|value| value.wide())).collect())
        };
        Ok([of_spans(0)?, of_spans(1)?])
    })
}

/// y = (x − mean) · (rstd γ) + β.
fn affine_of<T: Float>(normalised: &Normalised, [weight, bias]: [Vec<f64>; 2]) -> Affine<T> {
    Affine {
        mean: normalised.mean.iter().map(|mean| T::narrow(*mean)).collect(),
        scale: normalised.rstd.iter().zip(weight).map(|(r, w)| T::narrow(r * w)).collect(),
        shift: bias.into_iter().map(T::narrow).collect(),
    }
}

/// dx and d(γ, β) from dy, behind a ReLU with output `y` if given.
fn backward<T: Float>(
    back: &Backward,
    x: &Tensor,
    affine: &Tensor,
    dy: &Tensor,
    y: Option<&Tensor>,
    wanted: [bool; 2],
) -> Result<[Option<Tensor>; 2]> {
    let shape = x.dims();
    with_slice::<T, _>(x, |x| {
        with_slice::<T, _>(dy, |dy| match y {
            Some(y) => with_slice(y, |y| backward_values(back, (x, shape), affine, dy, Some(y), wanted)),
            None => backward_values(back, (x, shape), affine, dy, None, wanted),
        })
    })
}

fn backward_values<T: Float>(
    back: &Backward,
    (x, shape): (&[T], &[usize]),
    affine: &Tensor,
    dy: &[T],
    y: Option<&[T]>,
    wanted: [bool; 2],
) -> Result<[Option<Tensor>; 2]> {
    let Backward { op, normalised: Normalised { spans, mean, rstd }, through, ghost } = back;
    let c = spans.c;
    let sums = timed(|| named("sums of dy", shape), || sums_of_dy(back, (x, shape), dy, y, affine))?;
    let dx = if wanted[0] {
        let [weight, _] = affine_of_spans::<T>(op, affine, ghost, (shape[0], spans))?;
        let (shift, slope) = through(&sums, &weight)?;
        let narrow = |f: &dyn Fn(usize) -> f64| (0..mean.len()).map(|i| T::narrow(f(i))).collect::<Vec<T>>();
        let grad = GradAffine {
            mean: narrow(&|i| mean[i]),
            weight: narrow(&|i| rstd[i] * weight[i]),
            shift: narrow(&|i| rstd[i] * shift[i]),
            slope: narrow(&|i| rstd[i] * rstd[i] * slope[i]),
        };
        Some(constant(timed(|| named("dx", shape), || spans.grad_input(x, dy, y, &grad)), shape)?)
    } else {
        None
    };
    let d_affine = if wanted[1] {
        let mut total = vec![0.0; 2 * c];
        for sums in &sums {
            for j in 0..c {
                total[j] += sums[c + j]; // dγ = Σ g x̂
                total[c + j] += sums[j]; // dβ = Σ g
            }
        }
        Some(constant(total.into_iter().map(T::narrow).collect(), 2 * c)?)
    } else {
        None
    };
    Ok([dx, d_affine])
}

/// Σ g and Σ g x̂ of each channel and span, as [`Spans::grad_sums`] has them; sample by sample in a backward that
/// measures.
fn sums_of_dy<T: Float>(
    Backward { normalised: Normalised { spans, mean, rstd }, ghost, .. }: &Backward,
    (x, shape): (&[T], &[usize]),
    dy: &[T],
    y: Option<&[T]>,
    like: &Tensor,
) -> Result<Vec<Vec<f64>>> {
    if !(ghost.measures(0) || ghost.measures(1)) {
        return Ok(spans.grad_sums(x, dy, y, mean, rstd));
    }
    let c = spans.c;
    let each = Spans { spans: shape[0], rows: spans.spans * spans.rows / shape[0], c };
    let of_each = |values: &[f64]| values.repeat(each.spans / spans.spans);
    let sums = each.grad_sums(x, dy, y, &of_each(mean), &of_each(rstd));
    for (k, half) in [(0, c..2 * c), (1, 0..c)] {
        ghost.measure(k, |size, keeps| {
            let of_samples: Vec<&[f64]> = sums.iter().map(|sums| &sums[half.clone()]).collect();
            let groups = Groups { samples: sums.len(), size };
            Terms::of_sums(groups, &groups.sums(&of_samples), keeps, like)
        })?;
    }
    Ok(if spans.spans == 1 { vec![add_up(&sums, 2 * c)] } else { sums })
}
