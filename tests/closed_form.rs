//! Gradients, norms and expectations against formulas written by hand, in f64.

use crate::problems::{Fixed, Link, Rows, along, distance, dot, norm, normal};
use candle_core::{DType, Device, Result, Tensor, Var};
use msharp_core::{Batch, BatchLoss, GradNormEstimator, Key, Params, Perturbation, Temperature, effective_size, gibbs};
use msharp_gradnorm::{Delta, Exact, FiniteDifference, Probe};
use msharp_perturb::{
    Gibbs, L2, Mean, Micro, Plain, Sharp, Weighted, m_ascent_sam, m_sam, n_sam, n_usam, rw_sam, rw_usam, sam, usam,
};

const RHO: f64 = 0.3;
const LINKS: [Link; 2] = [Link::Squares, Link::Logistic];

fn assert_close(rule: &mut dyn Perturbation, rows: &Rows, expected: &[f64], what: &str) -> Result<()> {
    let found = rule.gradient(BatchLoss::new(rows, &rows.params, &rows.batch))?.grads.to_vec()?;
    let off = distance(&found, expected);
    assert!(off < 1e-12, "{what} on {:?}: {found:?} for {expected:?}, off by {off:e}", rows.link);
    Ok(())
}

/// x + ρ g/(‖g‖ + 10⁻¹²)
fn on_the_ball(x: &[f64], g: &[f64]) -> Vec<f64> {
    along(x, RHO / (norm(g) + 1e-12), g)
}

#[test]
fn sam_and_usam_are_their_formulas() -> Result<()> {
    for link in LINKS {
        let rows = Rows::new(link, 7, 4, 1)?;
        let x = rows.x()?;
        let g = rows.mean(0..7, &x);
        assert_close(&mut Plain, &rows, &g, "plain")?;
        assert_close(&mut sam(RHO), &rows, &rows.mean(0..7, &on_the_ball(&x, &g)), "SAM")?;
        assert_close(&mut usam(RHO), &rows, &rows.mean(0..7, &along(&x, RHO, &g)), "USAM")?;
    }
    Ok(())
}

#[test]
fn m_sam_weighs_micro_batches_by_their_length() -> Result<()> {
    for link in LINKS {
        let rows = Rows::new(link, 7, 4, 2)?;
        let x = rows.x()?;
        let mut expected = vec![0.; 4];
        for part in [0..3, 3..6, 6..7] {
            let share = part.len() as f64 / 7.;
            let displaced = on_the_ball(&x, &rows.mean(part.clone(), &x));
            expected = along(&expected, share, &rows.mean(part, &displaced));
        }
        assert_close(&mut m_sam(RHO, 3), &rows, &expected, "m-SAM")?;
    }
    Ok(())
}

/// The controls: micro-batches that ascend alone while all descend, and weights that are descended too.
#[test]
fn what_ascends_apart_descends_together_and_what_is_weighed_is_descended() -> Result<()> {
    for link in LINKS {
        let rows = Rows::new(link, 7, 4, 2)?;
        let x = rows.x()?;
        let mut expected = vec![0.; 4];
        for part in [0..3, 3..6, 6..7] {
            let (share, displaced) = (part.len() as f64 / 7., on_the_ball(&x, &rows.mean(part, &x)));
            expected = along(&expected, share, &rows.mean(0..7, &displaced));
        }
        assert_close(&mut m_ascent_sam(RHO, 3), &rows, &expected, "m-SAM's perturbations")?;

        let norms: Vec<f64> = (0..7).map(|i| norm(&rows.grad(i, &x))).collect();
        let temperature = Temperature::EffectiveSize(3.);
        let weights = gibbs(&norms, temperature);
        let of_weights = |x: &[f64]| rows.weighted(weights.iter().copied().enumerate(), x);
        let expected = of_weights(&on_the_ball(&x, &of_weights(&x)));
        let ascent = Gibbs { temperature, estimator: Exact };
        let mut rule = Sharp { ascent, offset: L2 { rho: RHO }, combine: Weighted };
        assert_close(&mut rule, &rows, &expected, "RW-SAM, weighted descent")?;
        let mut unweighted = Sharp { ascent: Mean, offset: L2 { rho: RHO }, combine: Weighted };
        let loss = BatchLoss::new(&rows, &rows.params, &rows.batch);
        let error = unweighted.gradient(loss).unwrap_err().to_string();
        assert!(error.contains("does not weigh samples"), "{error}");
    }
    Ok(())
}

#[test]
fn rw_sam_ascends_the_gibbs_weighted_gradient_and_descends_the_plain_one() -> Result<()> {
    for link in LINKS {
        let rows = Rows::new(link, 7, 4, 3)?;
        let x = rows.x()?;
        let norms: Vec<f64> = (0..7).map(|i| norm(&rows.grad(i, &x))).collect();
        let mean = norms.iter().sum::<f64>() / 7.;
        let softmax = |lambda: f64, scale: f64| -> Vec<f64> {
            let sum: f64 = norms.iter().map(|s| (lambda * s / scale).exp()).sum();
            norms.iter().map(|s| (lambda * s / scale).exp() / sum).collect()
        };
        let by_size = gibbs(&norms, Temperature::EffectiveSize(3.));
        assert!((effective_size(&by_size) - 3.).abs() < 1e-9);
        let cases = [
            (Temperature::Raw(0.7), softmax(0.7, 1.)),
            (Temperature::Relative(2.), softmax(2., mean)),
            (Temperature::EffectiveSize(3.), by_size),
        ];
        for (temperature, weights) in cases {
            let g = rows.weighted(weights.iter().copied().enumerate(), &x);
            let (ball, ray) = (rows.mean(0..7, &on_the_ball(&x, &g)), rows.mean(0..7, &along(&x, RHO, &g)));
            assert_close(&mut rw_sam(RHO, temperature, Exact), &rows, &ball, "RW-SAM")?;
            assert_close(&mut rw_usam(RHO, temperature, Exact), &rows, &ray, "RW-USAM")?;
            let measures =
                rw_sam(RHO, temperature, Exact).gradient(BatchLoss::new(&rows, &rows.params, &rows.batch))?.measures;
            assert!((measures["m_eff"].to_scalar::<f64>()? - effective_size(&weights)).abs() < 1e-9);
        }
    }
    Ok(())
}

#[test]
fn m_rw_sam_normalises_its_weights_within_each_micro_batch() -> Result<()> {
    let rows = Rows::new(Link::Logistic, 7, 4, 4)?;
    let x = rows.x()?;
    let mut expected = vec![0.; 4];
    for part in [0..4, 4..7] {
        let norms: Vec<f64> = part.clone().map(|i| norm(&rows.grad(i, &x))).collect();
        let g = rows.weighted(part.clone().zip(gibbs(&norms, Temperature::Raw(2.))), &x);
        expected = along(&expected, part.len() as f64 / 7., &rows.mean(part, &on_the_ball(&x, &g)));
    }
    let mut rule = Micro::new(rw_sam(RHO, Temperature::Raw(2.), Exact), 4);
    assert_close(&mut rule, &rows, &expected, "m-RW-SAM")
}

#[test]
fn n_sam_ascends_on_the_set_and_descends_on_the_batch() -> Result<()> {
    for link in LINKS {
        let whole = Rows::new(link, 11, 4, 5)?;
        // 4 + 4 + 3 rows: a mean of the batches' means would weigh the last three too much
        let set = Fixed(whole.batch.chunks(4)?);
        let x = whole.x()?;
        let g = whole.mean(0..11, &x);
        let batch = whole.rows(&[2, 3, 4, 5, 6])?;
        for (rule, displaced) in [
            (&mut n_sam(RHO, set.clone()) as &mut dyn Perturbation, on_the_ball(&x, &g)),
            (&mut n_usam(RHO, set.clone()), along(&x, RHO, &g)),
        ] {
            let found = rule.gradient(BatchLoss::new(&whole, &whole.params, &batch))?;
            assert!(distance(&found.grads.to_vec()?, &whole.mean(2..7, &displaced)) < 1e-12);
            assert!(found.losses.is_none(), "there is no clean pass over the batch");
        }
    }
    Ok(())
}

#[test]
fn exact_norms_are_the_residual_times_the_length_of_the_row() -> Result<()> {
    for link in LINKS {
        let rows = Rows::new(link, 9, 5, 6)?;
        let x = rows.x()?;
        let found = Exact.norms(BatchLoss::new(&rows, &rows.params, &rows.batch))?.to_vec1::<f64>()?;
        for (i, found) in found.iter().enumerate() {
            let (s, t, length) = (dot(&rows.a[i], &x), rows.t[i], norm(&rows.a[i]));
            let expected = match link {
                Link::Squares => 2. * (s - t).abs() * length,
                _ => length / (1. + (t * s).exp()),
            };
            assert!((found / expected - 1.).abs() < 1e-12, "{found} for {expected}");
        }
    }
    Ok(())
}

/// The mean of the estimated square is ‖g‖², and its variance 2(‖g‖⁴ − Σgⱼ⁴), 2‖g‖⁴ or 2‖g‖⁴(d − 1)/(d + 2) over K, on
/// linear losses, where a difference is no approximation. 6000 estimates; the mean is held to 4 standard errors. A
/// variance is held to 4 of *its* standard errors, those of a Gaussian's square: √((μ₄ − σ⁴)/N) = 3.74σ²/√N, an upper
/// bound for the others.
#[test]
fn the_square_of_a_probe_is_unbiased_and_has_the_variance_of_its_formula() -> Result<()> {
    const N: usize = 6000;
    let rows = Rows::new(Link::Linear, 2, 6, 7)?;
    let standard = FiniteDifference { delta: Delta::Absolute(1e-2), ..FiniteDifference::default() };
    let cases = [(Probe::Rademacher, 1), (Probe::Gaussian, 1), (Probe::Sphere, 1), (Probe::Rademacher, 3)];
    for (probe, probes) in cases {
        let mut estimator = FiniteDifference { probes, probe, ..standard };
        let mut squares = [Vec::with_capacity(N), Vec::with_capacity(N)];
        for k in 0..N {
            let batch = Batch { key: Key::new(8).fold(k as u64), ..rows.batch.clone() };
            let norms = estimator.norms(BatchLoss::new(&rows, &rows.params, &batch))?.to_vec1::<f64>()?;
            norms.iter().zip(&mut squares).for_each(|(norm, squares)| squares.push(norm * norm));
        }
        for (g, squares) in rows.a.iter().zip(&squares) {
            let fourth = dot(g, g).powi(2);
            let expected = match probe {
                Probe::Rademacher => 2. * (fourth - g.iter().map(|g| g.powi(4)).sum::<f64>()),
                Probe::Gaussian => 2. * fourth,
                Probe::Sphere => 2. * fourth * 5. / 8., // d = 6
            } / probes as f64;
            let mean = squares.iter().sum::<f64>() / N as f64;
            let error = (expected / N as f64).sqrt();
            assert!((mean - dot(g, g)).abs() < 4. * error, "{probe:?}: mean {mean}, ‖g‖² {}, ± {error}", dot(g, g));
            let variance = squares.iter().map(|s| (s - mean).powi(2)).sum::<f64>() / (N - 1) as f64;
            let slack = 4. * 3.74 / (N as f64).sqrt();
            assert!((variance / expected - 1.).abs() < slack, "{probe:?}: variance {variance} for {expected}");
        }
    }
    Ok(())
}

/// All subsets of `b` of `n` indices.
fn subsets(n: u32, b: u32) -> impl Iterator<Item = Vec<u32>> {
    (0..1u32 << n)
        .filter(move |mask| mask.count_ones() == b)
        .map(move |mask| (0..n).filter(|i| mask >> i & 1 == 1).collect())
}

/// All sequences of `b` of `n` indices, with repetition.
fn sequences(n: u32, b: u32) -> impl Iterator<Item = Vec<u32>> {
    (0..n.pow(b)).map(move |code| (0..b).map(|k| code / n.pow(k) % n).collect())
}

fn mean_of(values: impl Iterator<Item = Result<f64>>) -> Result<f64> {
    let values: Vec<f64> = values.collect::<Result<_>>()?;
    Ok(values.iter().sum::<f64>() / values.len() as f64)
}

/// tr V, V the covariance of ∇ℓᵢ over the n samples (1/n).
fn trace(grads: &[Vec<f64>], mean: &[f64]) -> f64 {
    grads.iter().map(|g| norm(&along(g, -1., mean)).powi(2)).sum::<f64>() / grads.len() as f64
}

/// E‖∇f_γ‖² − ‖∇f‖² = tr V/b · (n − b)/(n − 1) over all batches without replacement, tr V/b over those with, and
/// tr V/m_eff where the samples of a batch are weighted: the identity that the m in m-sharpness comes from. On noisy
/// quadratics ½xᵀHx − ⟨vᵢ, x⟩.
#[test]
fn the_gradient_noise_of_a_batch_is_the_trace_over_its_size() -> Result<()> {
    let (n, d) = (6u32, 3);
    let x = Var::from_tensor(&normal(d, 1, DType::F64)?)?;
    let params = Params::new([("x".to_owned(), x.clone())])?;
    let root = normal((d, d), 2, DType::F64)?;
    let noise = normal((n as usize, d), 3, DType::F64)?;
    let f = |batch: &Batch, _: bool| {
        let half = root.matmul(&x.unsqueeze(1)?)?.sqr()?.sum_all()?.affine(0.5, 0.)?; // H = rootᵀ root
        half.broadcast_sub(&batch.inputs.matmul(&x.unsqueeze(1)?)?.squeeze(1)?)
    };
    let gradient = |indices: &[u32], weights: Option<&Tensor>| -> Result<Vec<f64>> {
        let inputs = noise.index_select(&Tensor::new(indices, &Device::Cpu)?, 0)?;
        let batch = Batch::new(inputs.clone(), inputs, Key::new(0));
        let loss = BatchLoss::new(&f, &params, &batch);
        weights.map_or_else(|| loss.gradient(), |weights| loss.weighted_gradient(weights))?.grads.to_vec()
    };
    let square = |g: Vec<f64>| dot(&g, &g);
    let all: Vec<u32> = (0..n).collect();
    let full = gradient(&all, None)?;
    let singles: Vec<Vec<f64>> = all.iter().map(|&i| gradient(&[i], None)).collect::<Result<_>>()?;
    let (full_square, tr_v) = (dot(&full, &full), trace(&singles, &full));

    for b in 1..=n {
        let found = mean_of(subsets(n, b).map(|batch| Ok(square(gradient(&batch, None)?))))? - full_square;
        let expected = tr_v / b as f64 * (n - b) as f64 / (n - 1) as f64;
        assert!((found - expected).abs() < 1e-12 * full_square, "b = {b}: {found} for {expected}");
    }
    for b in 1..=3 {
        let found = mean_of(sequences(n, b).map(|batch| Ok(square(gradient(&batch, None)?))))? - full_square;
        assert!((found - tr_v / b as f64).abs() < 1e-12 * full_square, "with replacement, b = {b}");
    }
    let p = [0.6, 0.3, 0.1];
    let weights = Tensor::new(&p, &Device::Cpu)?;
    let found = mean_of(sequences(n, 3).map(|batch| Ok(square(gradient(&batch, Some(&weights))?))))? - full_square;
    assert!((found - tr_v / effective_size(&p)).abs() < 1e-12 * full_square);
    Ok(())
}

/// Where every ℓᵢ is a square, the mean USAM gradient over all batches *is* that of f + ρ/2 (‖∇f‖² + tr
/// V/b·(n−b)/(n−1)): a smaller batch descends a stronger penalty on the variance. That is m-sharpness.
#[test]
fn usam_on_small_batches_descends_the_variance_of_the_gradients() -> Result<()> {
    let (n, d) = (6u32, 3);
    let rows = Rows::new(Link::Squares, n as usize, d, 9)?;
    let x = rows.x()?;
    let f = rows.mean(0..n as usize, &x);
    // Hᵢ v = 2aᵢ⟨aᵢ, v⟩, ½∇‖∇ℓᵢ‖² = Hᵢ gᵢ
    let hessian = |i: usize, v: &[f64]| along(&vec![0.; d], 2. * dot(&rows.a[i], v), &rows.a[i]);
    let mean =
        |of: &dyn Fn(usize) -> Vec<f64>| (0..n as usize).fold(vec![0.; d], |sum, i| along(&sum, 1. / n as f64, &of(i)));
    let of_square = mean(&|i| hessian(i, &f)); // ½∇‖∇f‖²
    let of_trace = along(&mean(&|i| hessian(i, &rows.grad(i, &x))), -1., &of_square); // ½∇tr V
    for b in 1..=n {
        let (mut found, batches) = (vec![0.; d], subsets(n, b).count() as f64);
        for batch in subsets(n, b) {
            let g = usam(RHO).gradient(BatchLoss::new(&rows, &rows.params, &rows.rows(&batch)?))?.grads.to_vec()?;
            found = along(&found, 1. / batches, &g);
        }
        let share = (n - b) as f64 / (b * (n - 1)) as f64;
        let expected = along(&along(&f, RHO, &of_square), RHO * share, &of_trace);
        assert!(distance(&found, &expected) < 1e-12, "b = {b}: {found:?} for {expected:?}");
    }
    Ok(())
}
