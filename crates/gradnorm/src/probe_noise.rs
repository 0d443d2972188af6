//! How much of a finite difference is signal, from a few more points along the same probe.

use candle_core::{DType, Result, Tensor};

/// Where the short point lies, in steps δ.
pub(crate) const SHORT: f64 = 1. / 16.;

/// More than so many ulps of a loss are no rounding: what the short point is off by is the shape of the loss then.
const ULPS: f64 = 64.;

/// The largest ratio that is reported: of slopes that are nothing but noise.
const LARGEST: f64 = 1e6;

/// What the slopes of one probe are made of, root mean squares over the samples of a batch, in units of the loss: the
/// errors of the difference that the slope is made of, and the difference itself.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct ProbeNoise {
    /// |⟨δz, ∇ℓᵢ⟩|, the noise taken off.
    pub signal: f64,
    /// The error that the rounding of the losses makes.
    pub rounding: f64,
    /// The error that the curvature of the losses makes; of a central difference, their third derivative.
    pub curvature: f64,
    /// Whether the difference is a central one.
    pub central: bool,
}

impl ProbeNoise {
    /// Noise to signal: √(rounding² + curvature²)/signal, 10⁶ at most. 0 where nothing moves at all: a gradient of 0 is
    /// known, and needs no weights. NaN of losses that are not finite.
    pub fn ratio(&self) -> f64 {
        let noise = self.rounding.hypot(self.curvature);
        match noise {
            0. => 0.,
            noise if noise.is_finite() => (noise / self.signal.max(noise / LARGEST)).min(LARGEST),
            _ => f64::NAN,
        }
    }

    /// Whether most of the noise is rounding, so that a longer step would have less of it.
    pub fn is_too_short(&self) -> bool {
        self.rounding > self.curvature
    }

    /// What to multiply δ by to have the least noise, from 1/8 to 8: rounding falls with 1/δ and curvature grows with
    /// δ, of a central difference with δ².
    pub fn factor(&self) -> f64 {
        let order = if self.central { 2. } else { 1. };
        // minimises (rounding/c)² + (curvature·c^order)²
        let best = (self.rounding.powi(2) / (order * self.curvature.powi(2))).powf(1. / (2. + 2. * order));
        if best.is_nan() { 1. } else { best.clamp(1. / 8., 8.) }
    }
}

/// The losses of a batch, `[b]` each, at multiples of δz.
pub(crate) struct Points {
    pub behind: Tensor,
    pub here: Tensor,
    /// At [`SHORT`].
    pub short: Tensor,
    pub ahead: Tensor,
    /// At 2, for a central difference.
    pub far: Option<Tensor>,
    /// The distance from 1 to the next number in which losses are computed.
    pub ulp: f64,
}

/// Mean squares over the samples, f64 `[]` where the losses are.
pub(crate) struct Moments {
    /// Of half the central difference.
    slope: Tensor,
    /// Of the second difference, or the third of a central one: curvature and rounding.
    bend: Tensor,
    /// Of what the polynomial through the other points leaves of the short one: rounding alone, unless the step is so
    /// long that no polynomial fits.
    rest: Tensor,
    /// Of the slope towards the short point, in δ; and of the error of the difference if that slope is the true one.
    /// There is much rounding in both, so they count only where they are far above it: where the step is so long that
    /// the difference is of another slope altogether.
    local: Tensor,
    gap: Tensor,
    /// The most that a loss is rounded by.
    most: Tensor,
    central: bool,
}

impl Points {
    pub fn moments(&self) -> Result<Moments> {
        let wide = |losses: &Tensor| losses.detach().to_dtype(DType::F64);
        let (behind, here, short, ahead) =
            (wide(&self.behind)?, wide(&self.here)?, wide(&self.short)?, wide(&self.ahead)?);
        let slope = ((&ahead - &behind)? * 0.5)?;
        let second = ((&ahead - &here)? - (&here - &behind)?)?;
        // Newton's form through −1, 0, 1 (and 2), as differences, which are small: ℓ₀ + t(ℓ₁ − ℓ₀) + t(t−1)/2 Δ² + …
        let t = SHORT;
        let mut rest = ((&short - &here)? - ((&ahead - &here)? * t)?)?;
        let local = ((&short - &here)? / t)?;
        let gap = match &self.far {
            None => (&local - (&ahead - &here)?)?,
            Some(_) => (&local - (&slope + (&second * (t / 2.))?)?)?,
        };
        rest = (rest - (&second * (t * (t - 1.) / 2.))?)?;
        let bend = match &self.far {
            None => second,
            Some(far) => {
                let third = (((wide(far)? - &ahead)? - (&ahead - &here)?)? - &second)?;
                rest = (rest - (&third * (t * (t - 1.) * (t + 1.) / 6.))?)?;
                third
            }
        };
        let square = |x: Tensor| x.sqr()?.mean_all();
        let most = (square(here)? * (ULPS * self.ulp).powi(2))?;
        let (slope, bend, rest) = (square(slope)?, square(bend)?, square(rest)?);
        let (local, gap) = (square(local)?, square(gap)?);
        Ok(Moments { slope, bend, rest, local, gap, most, central: self.far.is_some() })
    }
}

/// Variances in units of r², that of the rounding of one loss: of a difference's error, of half the central difference,
/// of the bend, and of the rest; and the square of what the bend is divided by to be the error of a difference. A
/// second difference has 6; half as much again, a standard deviation of it over 16 samples, keeps rounding from passing
/// for curvature.
struct Shares {
    error: f64,
    slope: f64,
    bend: f64,
    rest: f64,
    divisor: f64,
}

impl Shares {
    fn of(central: bool) -> Self {
        match central {
            false => Self { error: 2., slope: 0.5, bend: 9., rest: 1.995, divisor: 4. },
            true => Self { error: 0.5, slope: 0.5, bend: 20., rest: 1.936, divisor: 36. },
        }
    }
}

impl Moments {
    /// Reads them: waits for a GPU that has them.
    pub fn read(&self) -> Result<ProbeNoise> {
        let [signal, rounding, curvature] = self.squares()?;
        let root = |square: Tensor| Ok::<f64, candle_core::Error>(square.to_scalar::<f64>()?.sqrt());
        let (signal, rounding, curvature) = (root(signal)?, root(rounding)?, root(curvature)?);
        Ok(ProbeNoise { signal, rounding, curvature, central: self.central })
    }

    /// [`ProbeNoise::ratio`], f64 `[]`, without waiting for a GPU.
    pub fn ratio(&self) -> Result<Tensor> {
        let [signal, rounding, curvature] = self.squares()?;
        let noise = (rounding + curvature)?;
        let floor = noise.affine(LARGEST.powi(-2), f64::MIN_POSITIVE)?;
        (noise / (signal + floor)?)?.sqrt()
    }

    fn squares(&self) -> Result<[Tensor; 3]> {
        let shares = Shares::of(self.central);
        let r2 = (&self.rest / shares.rest)?.minimum(&self.most)?;
        let unsure = (&r2 * (4. / SHORT.powi(2)))?;
        let curvature = ((&self.bend - (&r2 * shares.bend)?)?.relu()? / shares.divisor)?;
        let curvature = curvature.maximum(&(&self.gap - &unsure)?)?;
        let signal = (&self.slope - (&r2 * shares.slope)?)?.relu()?.minimum(&(&self.local + &unsure)?)?;
        Ok([signal, (r2 * shares.error)?, curvature])
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use candle_core::Device;
    use rand::Rng;

    /// gδt + c(δt)²/2 + h(δt)³/6 at t, with a rounding of deviation r, for 400 samples.
    fn points(delta: f64, [g, c, h]: [f64; 3], r: f64, central: bool) -> Points {
        let mut rng = msharp_core::Key::new(3).rng();
        let mut at = |t: f64| {
            let s = delta * t;
            let mut noise = || (0..12).map(|_| rng.next_u32() as f64 / u32::MAX as f64 - 0.5).sum::<f64>();
            let one = |noise: f64| 1. + g * s + c * s * s / 2. + h * s.powi(3) / 6. + r * noise;
            let losses: Vec<f64> = (0..400).map(|_| one(noise())).collect();
            Tensor::new(losses, &Device::Cpu).unwrap()
        };
        Points { behind: at(-1.), here: at(0.), short: at(SHORT), ahead: at(1.), far: central.then(|| at(2.)), ulp: r }
    }

    #[test]
    fn signal_rounding_and_curvature_are_told_apart() {
        let near = |found: f64, expected: f64| assert!((found / expected - 1.).abs() < 0.15, "{found} for {expected}");
        let noise = points(1e-2, [3., 5., 0.], 1e-6, false).moments().unwrap().read().unwrap();
        near(noise.signal, 3e-2);
        near(noise.rounding, 2f64.sqrt() * 1e-6);
        near(noise.curvature, 2.5e-4);
        assert!(!noise.is_too_short());
        let noise = points(1e-2, [3., 1e3, 6e4], 1e-5, true).moments().unwrap().read().unwrap();
        near(noise.signal, 3e-2); // half the central difference is of 4e-2
        near(noise.rounding, 0.5f64.sqrt() * 1e-5);
        near(noise.curvature, 1e-2);
    }

    #[test]
    fn the_tensor_is_the_number() {
        for (delta, r, central) in [(1e-2, 1e-6, false), (1e-7, 1e-6, false), (1e-3, 1e-9, true), (1e-7, 1e-6, true)] {
            let moments = points(delta, [3., 5., 40.], r, central).moments().unwrap();
            let (number, tensor) = (moments.read().unwrap().ratio(), moments.ratio().unwrap().to_scalar::<f64>());
            assert!((tensor.unwrap() / number - 1.).abs() < 1e-6, "{number} at δ = {delta}");
            assert_eq!(number > 1., delta == 1e-7, "{number} at δ = {delta}");
        }
    }

    #[test]
    fn the_factor_leads_to_the_best_step() {
        for central in [false, true] {
            for mut delta in [1e-7, 3e-5, 1.] {
                let (derivatives, r) = ([3., 5., 40.], 1e-8);
                for _ in 0..12 {
                    delta *= points(delta, derivatives, r, central).moments().unwrap().read().unwrap().factor();
                }
                // by hand: minimises 2r²/δ² + (cδ/2)², or r²/2δ² + (hδ²/6)²
                let best = match central {
                    false => (8. * r * r / 25f64).powf(0.25),
                    true => (9. * r * r / 1600f64).powf(1. / 6.),
                };
                assert!((0.5..2.).contains(&(delta / best)), "central {central}: {delta:e}, the best is {best:e}");
            }
        }
    }

    #[test]
    fn what_does_not_move_has_no_noise() {
        let flat = points(1e-3, [0., 0., 0.], 0., false).moments().unwrap();
        assert_eq!((flat.read().unwrap().ratio(), flat.read().unwrap().factor()), (0., 1.));
        assert_eq!(flat.ratio().unwrap().to_scalar::<f64>().unwrap(), 0.);
    }
}
