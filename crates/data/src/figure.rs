//! The ten classes of the synthetic set, as sets of points in the plane.

/// A class: which points of the plane belong to its figure, within the unit disc (squares reach a little out of it).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Figure {
    Disc,
    Ring,
    Square,
    Triangle,
    Cross,
    Star,
    /// Horizontal stripes, turned by a small angle only.
    Level,
    /// Vertical stripes, turned by a small angle only.
    Upright,
    Checker,
    Dots,
}

use Figure::*;

/// Figure i is class i.
pub(crate) const FIGURES: [Figure; 10] = [Disc, Ring, Square, Triangle, Cross, Star, Level, Upright, Checker, Dots];

/// Outward normals of the edges of a pentagram, at −90° + 72°·k: (cos, sin).
const PENTAGRAM: [(f64, f64); 5] = [
    (0., -1.),
    (0.951_056_516_295_153_5, -0.309_016_994_374_947_45),
    (0.587_785_252_292_473_1, 0.809_016_994_374_947_5),
    (-0.587_785_252_292_473_1, 0.809_016_994_374_947_5),
    (-0.951_056_516_295_153_5, -0.309_016_994_374_947_45),
];

impl Figure {
    /// Whether only its direction distinguishes it from another class.
    pub(crate) fn keeps_direction(self) -> bool {
        matches!(self, Level | Upright)
    }

    /// Whether (u, v) is in the figure. `round` gives the textured ones a round outline instead of a square one, so
    /// that the outline does not depend on the class.
    pub(crate) fn contains(self, u: f64, v: f64, round: bool) -> bool {
        let radius2 = u * u + v * v;
        let within = |a: f64, b: f64| u.abs() <= a && v.abs() <= b;
        let outline = if round { radius2 <= 1. } else { within(0.89, 0.89) };
        let odd = |x: f64| (x / 0.36 + 101.5).floor() as i64 % 2 == 1; // bands of width 0.36, one centred on 0
        match self {
            Disc => radius2 <= 0.81,
            Ring => (0.27..=0.94).contains(&radius2),
            Square => within(0.78, 0.78),
            // the incircle of an equilateral triangle of circumradius 1 has radius ½
            Triangle => v >= -0.5 && 0.866_025_403_784_438_6 * u.abs() + 0.5 * v <= 0.5,
            Cross => within(0.28, 0.95) || within(0.95, 0.28),
            // a point of a pentagram of circumradius 1.1 is beyond one of its five lines at most
            Star => PENTAGRAM.iter().filter(|(a, b)| a * u + b * v <= 1.1 * 0.309_016_994_374_947_45).count() >= 4,
            Level => outline && odd(v),
            Upright => outline && odd(u),
            Checker => outline && odd(u) == odd(v),
            Dots => {
                let offset = |x: f64| x - 0.56 * (x / 0.56 + 0.5).floor();
                outline && within(0.84, 0.84) && offset(u) * offset(u) + offset(v) * offset(v) <= 0.04
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The share of the square from −1.2 to 1.2 that a figure covers, times the area of that square.
    fn area(figure: Figure) -> f64 {
        let n = 600;
        let at = |i: i32| (i as f64 + 0.5) * 2.4 / n as f64 - 1.2;
        let inside = |i: i32| figure.contains(at(i % n), at(i / n), true);
        (0..n * n).filter(|&i| inside(i)).count() as f64 * 5.76 / (n * n) as f64
    }

    #[test]
    fn figures_have_the_areas_of_their_names() {
        let pi = std::f64::consts::PI;
        for (figure, expected) in [
            (Disc, 0.81 * pi),
            (Ring, 0.67 * pi),
            (Square, 1.56 * 1.56),
            (Triangle, 3. * 3f64.sqrt() / 4.),
            (Cross, 2. * 0.56 * 1.9 - 0.56 * 0.56),
            (Star, 1.21 * 1.122_569_941_449_897), // pentagram of circumradius 1: 10·tan(π/10)/(3 − tan²(π/10))
            (Dots, 9. * 0.04 * pi),
        ] {
            assert!((area(figure) - expected).abs() < 0.02, "{figure:?}: {} {expected}", area(figure));
        }
        assert!((area(Level) - area(Upright)).abs() < 1e-9);
        assert!((area(Checker) - pi / 2.).abs() < 0.1);
    }

    #[test]
    fn stripes_are_constant_in_their_own_direction_only() {
        assert!((0..10).all(|i| Level.contains(0.08 * i as f64, 0., false)));
        assert!((0..10).any(|i| !Level.contains(0., 0.08 * i as f64, false)));
        assert!((0..10).all(|i| Upright.contains(0., 0.08 * i as f64, false)));
    }
}
