//! The mean time until a one-dimensional equation leaves an interval, by quadrature.

use crate::error::Error;
use crate::sde::Sde;

/// E of the first time at which X, started at `start`, is at `right`; at `left` < `start` it is reflected, far enough
/// not to matter.
///
/// τ solves bτ' + ½σ²τ'' = −1 with τ'(left) = 0 and τ(right) = 0, so
///
/// > τ(x) = ∫ₓʳ e^ψ⁽ʸ⁾ ∫ₗʸ 2e^−ψ⁽ᶻ⁾/σ²(z) dz dy with ψ' = −2b/σ².
///
/// By the trapezoidal rule on `cells` cells; its error falls with the square of their number. The exponentials overflow
/// for wells deeper than ψ = 700, and the result is NaN. It is the continuous exit: nothing is missed between two
/// steps.
///
/// # Errors
/// If the equation is not one-dimensional, the bounds are not in order, or σ is 0 within them.
pub fn mean_exit_time(equation: &impl Sde, start: f64, (left, right): (f64, f64), cells: usize) -> Result<f64, Error> {
    if equation.dim() != 1 {
        return Err(Error::new(format!("an equation in {} dimensions; expected one", equation.dim())));
    }
    if !(left < start && start < right) || cells == 0 {
        return Err(Error::new(format!("start {start} between {left} and {right}; expected them in order, and cells")));
    }
    let width = (right - left) / cells as f64;
    let (mut drift, mut sigma) = ([0.], vec![0.; equation.noise().len(1)]);
    let (mut psi, mut inner, mut outer) = (0., 0., 0.);
    let mut before: Option<(f64, f64, f64)> = None;
    for k in 0..=cells {
        let y = left + k as f64 * width;
        equation.drift(&[y], &mut drift);
        equation.diffusion(&[y], &mut sigma);
        let square: f64 = sigma.iter().map(|s| s * s).sum();
        if square <= 0. {
            return Err(Error::new(format!("the noise vanishes at {y}; expected some between {left} and {right}")));
        }
        let slope = -2. * drift[0] / square;
        let Some((old_slope, old_density, old_value)) = before else {
            before = Some((slope, 2. / square, 0.));
            continue;
        };
        psi += width * (old_slope + slope) / 2.;
        let density = 2. * (-psi).exp() / square;
        inner += width * (old_density + density) / 2.;
        let value = psi.exp() * inner;
        // Only what lies to the right of the start counts, a part of a cell where it is inside one.
        let share = ((y - start) / width).clamp(0., 1.);
        outer += share * width * (old_value + value) / 2.;
        before = Some((slope, density, value));
    }
    Ok(outer)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::sde::Noise;

    /// dX = b dt + s dW.
    struct Drifting {
        b: f64,
        s: f64,
    }

    impl Sde for Drifting {
        fn dim(&self) -> usize {
            1
        }
        fn noise(&self) -> Noise {
            Noise::Diagonal
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
    fn what_cannot_be_left_is_an_error() {
        assert!(
            mean_exit_time(&Drifting { b: 0., s: 0. }, 0., (-1., 1.), 10).unwrap_err().to_string().contains("vanishes")
        );
        assert!(mean_exit_time(&Drifting { b: 0., s: 1. }, 2., (-1., 1.), 10).is_err());
    }
}
