//! Slopes of logarithms: the order of an error.

use crate::series::Point;

/// The exponent p of y ∝ xᵖ and its standard error, by least squares on logarithms; points from paths weigh by their
/// precision, and those that cannot be told from 0 by two standard errors do not count. None for fewer than two points,
/// or where one is NaN.
///
/// The standard error is that of the paths' noise alone, 0 for numbers without it.
pub fn slope(points: &[Point]) -> Option<(f64, f64)> {
    if points.iter().any(|p| p.y.is_nan()) {
        return None;
    }
    let usable: Vec<(f64, f64, f64)> = points
        .iter()
        .filter(|p| p.x > 0. && p.y > 0. && p.error.is_none_or(|error| p.y > 2. * error))
        .map(|p| (p.x.ln(), p.y.ln(), p.error.map_or(1., |error| (p.y / error).powi(2))))
        .collect();
    let sum = |f: &dyn Fn(&(f64, f64, f64)) -> f64| usable.iter().map(f).sum::<f64>();
    let weight = sum(&|p| p.2);
    let (x, y) = (sum(&|p| p.2 * p.0) / weight, sum(&|p| p.2 * p.1) / weight);
    let square = sum(&|p| p.2 * (p.0 - x).powi(2));
    // No slope either where a standard error of 0 weighs without bound.
    if usable.len() < 2 || square.is_nan() || square <= 0. {
        return None;
    }
    let noisy = points.iter().any(|p| p.error.is_some());
    let error = if noisy { (1. / square).sqrt() } else { 0. };
    Some((sum(&|p| p.2 * (p.0 - x) * (p.1 - y)) / square, error))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn powers_come_back() {
        let exact: Vec<Point> = [0.1, 0.2, 0.4].map(|x: f64| Point::exact(x, 3. * x.powf(1.7))).to_vec();
        let (found, error) = slope(&exact).unwrap();
        assert!((found - 1.7).abs() < 1e-12 && error == 0.);
        let mut sampled: Vec<Point> = [0.1, 0.2, 0.4].map(|x: f64| Point::sampled(x, x * x, 0.01 * x * x)).to_vec();
        sampled.push(Point::sampled(0.05, 0.9, 0.8)); // noise
        let (found, error) = slope(&sampled).unwrap();
        assert!((found - 2.).abs() < 1e-12 && (error - 0.01 / (2f64.ln() * 2f64.sqrt())).abs() < 1e-12);
        assert!(slope(&exact[..1]).is_none());
        assert!(slope(&[exact.clone(), vec![Point::exact(0.8, f64::NAN)]].concat()).is_none());
        assert!(slope(&[0.1, 0.2].map(|x| Point::sampled(x, x, 0.))).is_none());
    }
}
