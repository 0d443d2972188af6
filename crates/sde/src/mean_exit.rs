//! The mean time until a one-dimensional equation leaves an interval, by quadrature.

use crate::error::Error;
use crate::sde::Sde;

/// The mean first passage time of a one-dimensional equation from `start` to `right`, with a reflecting boundary at
/// `left` < `start`.
///
/// τ solves bτ' + ½σ²τ'' = −1 with τ'(left) = 0 and τ(right) = 0, so
///
/// > τ(x) = ∫ₓʳ e^ψ⁽ʸ⁾ ∫ₗʸ 2e^−ψ⁽ᶻ⁾/σ²(z) dz dy with ψ' = −2b/σ².
///
/// By the trapezoidal rule on `cells` cells: the error is O(1/cells²), and about 10 % where ψ changes by 1 within a
/// cell. The exit is that of continuous time. Costs one drift and one diffusion per cell.
///
/// # Errors
/// [`Error::InvalidArgument`] if the bounds are not in order, or ψ changes by more than 1 within a cell, as it does for
/// small noise: the message states a sufficient number of cells. [`Error::Unsupported`] if the equation is not
/// one-dimensional, σ is 0 between the bounds, drift or σ are not finite there, or the time overflows, as that of a
/// well with ψ ≈ 700.
pub fn mean_exit_time(equation: &impl Sde, start: f64, (left, right): (f64, f64), cells: usize) -> Result<f64, Error> {
    if equation.dim() != 1 {
        return Err(Error::unsupported(format!("an equation in {} dimensions; expected one", equation.dim())));
    }
    if !(left < start && start < right && (right - left).is_finite()) || cells == 0 {
        return Err(Error::invalid(format!(
            "start {start} between {left} and {right} on {cells} cells; expected finite numbers in order, and a cell"
        )));
    }
    let width = (right - left) / cells as f64;
    let (mut drift, mut sigma) = ([0.], vec![0.; equation.noise_type().len(1)]);
    // At each point ψ' and 1/σ², and `time` = −τ' = e^ψ ∫ 2e^−ψ/σ²: carried on as a product, since ψ alone may be
    // too large for an exponential where the difference between two points is not.
    let (mut before, mut time, mut outer, mut steepest) = (None, 0., 0., 0f64);
    for k in 0..=cells {
        let y = left + k as f64 * width;
        equation.drift(&[y], &mut drift);
        equation.diffusion(&[y], &mut sigma);
        let square: f64 = sigma.iter().map(|s| s * s).sum();
        if square <= 0. {
            return Err(Error::unsupported(format!(
                "the noise vanishes at {y}; expected some between {left} and {right}"
            )));
        }
        let (slope, density) = (-2. * drift[0] / square, 1. / square);
        if let Some((old_slope, old_density)) = before {
            let rise: f64 = width * (old_slope + slope) / 2.;
            steepest = steepest.max(rise.abs());
            let next = rise.exp() * (time + width * old_density) + width * density;
            // Only what lies to the right of the start counts, a part of a cell where it is inside one.
            let share = ((y - start) / width).clamp(0., 1.);
            outer += share * width * (time + next) / 2.;
            time = next;
        }
        before = Some((slope, density));
    }
    if !outer.is_finite() {
        return Err(Error::unsupported(format!(
            "the mean time from {start} to {right} is {outer}; expected a drift and a noise that are numbers, \
             and a well that is shallow enough to leave"
        )));
    }
    if steepest > 1. {
        return Err(Error::invalid(format!(
            "ψ changes by {steepest:.3} within one of {cells} cells; expected at most 1, as with {:.0} cells",
            (steepest * cells as f64).ceil()
        )));
    }
    Ok(outer)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sde::NoiseType;

    /// dX = b dt + s dW.
    struct Drifting {
        b: f64,
        s: f64,
    }

    impl Sde for Drifting {
        fn dim(&self) -> usize {
            1
        }
        fn noise_type(&self) -> NoiseType {
            NoiseType::Diagonal
        }
        fn drift(&self, _: &[f64], drift: &mut [f64]) {
            drift[0] = self.b;
        }
        fn diffusion(&self, _: &[f64], sigma: &mut [f64]) {
            sigma[0] = self.s;
        }
    }

    #[test]
    fn times_have_their_closed_forms() {
        // Brownian motion from 0 reflected at −1, until 2: (r − l)² − (x − l)² over s².
        let found = mean_exit_time(&Drifting { b: 0., s: 0.7 }, 0., (-1., 2.), 3000).unwrap();
        assert!((found - (9. - 1.) / 0.49).abs() < 1e-5, "{found}");
        // With drift b and the wall far away: distance over speed.
        let found = mean_exit_time(&Drifting { b: 0.5, s: 0.4 }, 0., (-8., 2.), 20_000).unwrap();
        assert!((found - 4.).abs() < 1e-3, "{found}");
    }

    #[test]
    fn deep_wells_have_long_times() {
        // Against the drift from a wall at 0: τ' = (1 − e^kx)/b with k = 2b/s².
        let (b, s, from, to) = (1f64, 0.1, 0.9, 1.);
        let k = 2. * b / (s * s);
        let exact = ((k * to).exp() - (k * from).exp()) / (k * b) - (to - from) / b;
        let found = mean_exit_time(&Drifting { b: -b, s }, from, (0., to), 200_000).unwrap();
        assert!((found / exact - 1.).abs() < 1e-4, "{found:e} {exact:e}");
        // With it, ψ falls by 20 000, and the time is that of the way.
        let found = mean_exit_time(&Drifting { b, s: 0.01 }, 0.5, (0., 1.), 1_000_000).unwrap();
        assert!((found - 0.5).abs() < 1e-4, "{found}");
        let text = mean_exit_time(&Drifting { b: -b, s: 1e-3 }, 0.5, (0., 1.), 1000).unwrap_err().to_string();
        assert!(text.contains("shallow"), "{text}");
    }

    /// Weak noise, whose ψ is steep: cells that are too wide for it gave 10 times the time.
    #[test]
    fn too_few_cells_for_weak_noise_are_an_error() {
        let weak = Drifting { b: 1., s: 0.01 };
        let text = mean_exit_time(&weak, 0.5, (0., 1.), 1000).unwrap_err().to_string();
        assert!(text.contains("20.000 within one of 1000 cells") && text.contains("with 20000 cells"), "{text}");
        let found = mean_exit_time(&weak, 0.5, (0., 1.), 20_000).unwrap();
        assert!((found - 0.5).abs() < 0.05, "{found}");
    }

    #[test]
    fn what_cannot_be_left_is_an_error() {
        let fails = |b, s, start, ends| mean_exit_time(&Drifting { b, s }, start, ends, 10).unwrap_err().to_string();
        assert!(fails(0., 0., 0., (-1., 1.)).contains("vanishes"));
        assert!(fails(0., 1., 2., (-1., 1.)).contains("in order"));
        assert!(fails(0., 1., 0., (f64::NEG_INFINITY, 1.)).contains("finite"));
        assert!(fails(0., f64::NAN, 0., (-1., 1.)).contains("numbers"));
        assert!(fails(f64::NAN, 1., 0., (-1., 1.)).contains("numbers"));
    }
}
