//! Axes: how far they reach, and where their ticks are.

use super::{Axis, Scale};

impl Scale {
    /// Whether a value has a place on an axis. Beyond 1e300, differences would not be numbers.
    pub fn has(self, value: f64) -> bool {
        value.is_finite() && value.abs() <= 1e300 && (self == Scale::Linear || value >= 1e-300)
    }

    /// Values at equal distances on the axis are at equal distances here.
    fn map(self, value: f64) -> f64 {
        if self == Scale::Linear { value } else { value.ln() }
    }
}

/// How far an axis reaches, as [`Scale::map`] has it.
pub struct Range {
    scale: Scale,
    low: f64,
    high: f64,
}

/// A tick.
#[derive(Clone, Debug, PartialEq)]
pub struct Tick {
    /// Where it is: 0 at the lower end of the axis, 1 at the upper one.
    pub at: f64,
    /// The number beside it.
    pub label: String,
}

impl Range {
    /// As far as the axis says that it reaches at least, and as the values that have a place on it, with 4 % to spare.
    pub fn of(axis: &Axis, values: impl Iterator<Item = f64>) -> Self {
        let scale = axis.scale;
        let start = (f64::INFINITY, f64::NEG_INFINITY);
        let enclose = |(low, high): (f64, f64), value: f64| (low.min(value), high.max(value));
        let ends = |values: &mut dyn Iterator<Item = f64>| {
            values.filter(|value| scale.has(*value)).map(|value| scale.map(value)).fold(start, enclose)
        };
        // Whether labels between both could be distinguished.
        let is_wide = |(low, high): (f64, f64)| high - low > (1e-9 * low.abs().max(high.abs())).max(1e-300);
        let of_data = ends(&mut { values });
        let (mut low, mut high) = of_data;
        if low <= high {
            let margin = match scale {
                _ if is_wide(of_data) => 0.04 * (high - low),
                Scale::Linear if high.abs() > 1e-290 => 0.1 * high.abs(),
                Scale::Linear => 1.,
                Scale::Log | Scale::Log2 => 0.5 * std::f64::consts::LN_10,
            };
            (low, high) = (low - margin, high + margin);
        }
        let least = axis.least.map_or(start, |(a, b)| ends(&mut [a, b].into_iter()));
        if is_wide(least) {
            // Only an end that the data reach past has a margin beyond it.
            low = if of_data.0 < least.0 { low } else { least.0 };
            high = if of_data.1 > least.1 { high } else { least.1 };
        }
        if low > high {
            (low, high) = if scale == Scale::Linear { (0., 1.) } else { (0., std::f64::consts::LN_10) };
        }
        Self { scale, low, high }
    }

    /// Where a value is: 0 at the lower end of the axis, 1 at the upper one.
    pub fn place(&self, value: f64) -> f64 {
        (self.scale.map(value) - self.low) / self.length()
    }

    /// The length in units of the axis: values, or natural logarithms.
    pub fn length(&self) -> f64 {
        self.high - self.low
    }

    /// About `most` ticks or fewer.
    pub fn ticks(&self, most: usize) -> Vec<Tick> {
        let most = most.max(2);
        let values = match self.scale {
            Scale::Linear => self.steps(self.low, self.high, most),
            Scale::Log => self.decades(most),
            Scale::Log2 => self.doublings(most),
        };
        let inside = |tick: &Tick| (-1e-9..=1. + 1e-9).contains(&tick.at);
        let ticks: Vec<Tick> = values.into_iter().filter(inside).collect();
        if self.scale == Scale::Linear || ticks.len() > 1 {
            return ticks;
        }
        let narrow = self.steps(self.low.exp(), self.high.exp(), most.min(5));
        narrow.into_iter().filter(inside).collect()
    }

    fn tick(&self, value: f64, label: String) -> Tick {
        Tick { at: self.place(value), label }
    }

    /// At the multiples of a 1, 2 or 5 with zeros.
    fn steps(&self, low: f64, high: f64, most: usize) -> Vec<Tick> {
        let least = (high - low) / most as f64;
        let power = least.log10().floor();
        let (factor, power) = [(1, 0.), (2, 0.), (5, 0.), (1, 1.)]
            .map(|(factor, more)| (factor, power + more))
            .into_iter()
            .find(|(factor, power)| f64::from(*factor) * 10f64.powf(*power) >= least * (1. - 1e-9))
            .unwrap_or((1, power + 1.));
        let step = f64::from(factor) * 10f64.powf(power);
        let (first, last) = ((low / step).floor() as i64, (high / step).ceil() as i64);
        if last.saturating_sub(first) > 1000 {
            return Vec::new();
        }
        let values: Vec<f64> = (first..=last).map(|k| decimal(k.saturating_mul(factor.into()), power as i32)).collect();
        let longest = |label: fn(f64) -> String| {
            values.iter().map(|value| label(*value).trim_start_matches('-').len()).max().unwrap_or(0)
        };
        let label = if longest(plain) <= longest(exponential).max(5) { plain } else { exponential };
        values.iter().map(|value| self.tick(*value, label(*value))).collect()
    }

    /// At powers of ten, and at 2 and 5 times these if the axis is shorter than two decades.
    fn decades(&self, most: usize) -> Vec<Tick> {
        let decade = std::f64::consts::LN_10;
        let factors = if self.length() < 2. * decade { &[1, 2, 5][..] } else { &[1] };
        let value = |power: i32| factors.iter().map(move |factor| decimal(*factor, power));
        let values = powers(self.low / decade, self.high / decade, most).into_iter().flat_map(value);
        values.map(|value| self.tick(value, short(value))).collect()
    }

    /// At powers of two.
    fn doublings(&self, most: usize) -> Vec<Tick> {
        let octave = std::f64::consts::LN_2;
        let label = |power: i32| match power {
            0..=16 => format!("{}", 1u32 << power),
            -10..=-1 => format!("1/{}", 1u32 << -power),
            _ => format!("2^{power}"),
        };
        let powers = powers(self.low / octave, self.high / octave, most);
        powers.into_iter().map(|power| self.tick(2f64.powi(power), label(power))).collect()
    }
}

/// The whole numbers around an interval, or every so many of them if there are too many.
fn powers(low: f64, high: f64, most: usize) -> Vec<i32> {
    let (first, last) = (low.floor() as i32, high.ceil() as i32);
    let inside = high.floor() - low.ceil() + 1.;
    let strides = [1, 2, 3, 5, 10, 20, 50, 100, 200, 500];
    let stride = strides.into_iter().find(|stride| inside / f64::from(*stride) <= most as f64).unwrap_or(1000);
    (first..=last).filter(|power| power % stride == 0).collect()
}

/// The number nearest to `factor`·10^`power`, which is 0.3 and not 0.30000000000000004.
fn decimal(factor: i64, power: i32) -> f64 {
    format!("{factor}e{power}").parse().unwrap_or(0.)
}

/// `0.3`, `15000`.
fn plain(value: f64) -> String {
    format!("{value}")
}

/// `1.5e4`, and `0`.
fn exponential(value: f64) -> String {
    if value == 0. { "0".to_owned() } else { format!("{value:e}") }
}

/// `0.05`, `25`, `2e4`, `1e-3`.
fn short(value: f64) -> String {
    if plain(value).len() <= 4 { plain(value) } else { exponential(value) }
}

/// A value to four digits: `33.12`, `0.05`, `1.234e-7`.
pub fn rounded(value: f64) -> String {
    let text = format!("{value:.3e}");
    let exponent = text.split_once('e').and_then(|(_, exponent)| exponent.parse::<i32>().ok());
    let value: f64 = text.parse().unwrap_or(value);
    match exponent {
        Some(-3..=5) => format!("{value}"),
        _ => exponential(value),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn range(scale: Scale, low: f64, high: f64) -> Range {
        Range { scale, low: scale.map(low), high: scale.map(high) }
    }

    fn labels(scale: Scale, low: f64, high: f64, most: usize) -> String {
        range(scale, low, high).ticks(most).into_iter().map(|tick| tick.label).collect::<Vec<_>>().join(" ")
    }

    #[test]
    fn linear_ticks_are_at_ones_twos_and_fives() {
        let labels = |low, high, most| labels(Scale::Linear, low, high, most);
        assert_eq!(labels(0., 1., 5), "0 0.2 0.4 0.6 0.8 1");
        assert_eq!(labels(0., 1., 4), "0 0.5 1");
        assert_eq!(labels(25.7, 33.2, 8), "26 27 28 29 30 31 32 33");
        assert_eq!(labels(-0.3, 0.3, 6), "-0.3 -0.2 -0.1 0 0.1 0.2 0.3");
        assert_eq!(labels(0., 20_000., 4), "0 5000 10000 15000 20000");
        assert_eq!(labels(0., 2e6, 4), "0 5e5 1e6 1.5e6 2e6");
        assert_eq!(labels(0., 5e-4, 5), "0 1e-4 2e-4 3e-4 4e-4 5e-4");
        assert_eq!(labels(100_000., 100_010., 2), "100000 100005 100010");
        let ticks = range(Scale::Linear, 0., 8.).ticks(4);
        assert_eq!(ticks.iter().map(|tick| tick.at).collect::<Vec<_>>(), [0., 0.25, 0.5, 0.75, 1.]);
    }

    #[test]
    fn logarithmic_ticks_are_at_powers() {
        let log = |low, high, most| labels(Scale::Log, low, high, most);
        assert_eq!(log(1e-4, 1e4, 9), "1e-4 1e-3 0.01 0.1 1 10 100 1000 1e4");
        assert_eq!(log(1e-4, 1e4, 5), "1e-4 0.01 1 100 1e4");
        assert_eq!(log(0.9, 60., 8), "1 2 5 10 20 50");
        assert_eq!(log(1.5e4, 6e4, 8), "2e4 5e4");
        // Not two of 1, 2 and 5 inside.
        assert_eq!(log(26., 33., 8), "26 28 30 32");
        let log2 = |low, high, most| labels(Scale::Log2, low, high, most);
        assert_eq!(log2(0.2, 9., 9), "1/4 1/2 1 2 4 8");
        assert_eq!(log2(1., 256., 5), "1 4 16 64 256");
        assert_eq!(log2(9e-7, 1e6, 4), "2^-20 1/1024 1 1024");
        let at = range(Scale::Log, 1., 100.).ticks(4).into_iter().map(|tick| tick.at).collect::<Vec<_>>();
        assert!(at.iter().zip([0., 0.5, 1.]).all(|(a, b)| (a - b).abs() < 1e-12), "{at:?}");
    }

    #[test]
    fn an_axis_reaches_as_far_as_its_data_or_further() {
        let ends = |axis: Axis, values: &[f64]| {
            let range = Range::of(&axis, values.iter().copied());
            (range.low, range.high)
        };
        let linear = || Axis::linear("x");
        assert_eq!(ends(linear(), &[]), (0., 1.));
        assert_eq!(ends(linear(), &[0., f64::NAN, 100., f64::INFINITY]), (-4., 104.));
        assert_eq!(ends(linear(), &[5.]), (4.5, 5.5));
        assert_eq!(ends(linear(), &[0.]), (-1., 1.));
        assert_eq!(ends(linear().with(0., 1.), &[0., 0.5, 1.]), (0., 1.));
        assert_eq!(ends(linear().with(0., 1.), &[]), (0., 1.));
        assert_eq!(ends(linear().with(0., 1.), &[0.5, 2.5]), (0., 2.58));
        let (low, high) = ends(Axis::log("x"), &[-1., 0., 10., 1000.]);
        assert!((low / std::f64::consts::LN_10 - 0.92).abs() < 1e-12);
        assert!((high / std::f64::consts::LN_10 - 3.08).abs() < 1e-12);
        assert!((Range::of(&Axis::log("x"), [1., 100.].into_iter()).place(10.) - 0.5).abs() < 1e-12);
    }

    #[test]
    fn no_range_is_too_wide_or_too_narrow() {
        let values = [0., 1., -1., 1e300, -1e300, 1e-300, 2e-300, 1. + 1e-9, 1. + 1e-15, 1e17, 5e-324, f64::NAN];
        for (a, b) in values.iter().flat_map(|a| values.map(|b| (*a, b))) {
            for scale in [Scale::Linear, Scale::Log, Scale::Log2] {
                let axis = Axis { scale, ..Axis::linear("x") };
                let range = Range::of(&axis, [a, b].into_iter());
                for most in [0, 1, 5, 100] {
                    assert!(range.ticks(most).iter().all(|tick| tick.at.is_finite() && tick.label.len() < 25));
                }
                for value in [a, b].into_iter().filter(|value| scale.has(*value)) {
                    assert!((0. ..=1.).contains(&range.place(value)), "{a} {b} {scale:?}");
                }
            }
        }
    }

    #[test]
    fn values_have_four_digits() {
        let texts = [33.123, 0.05, 1.23449e-7, 0., -2., 123_456., 1e300, 99_999.9].map(rounded);
        assert_eq!(texts, ["33.12", "0.05", "1.234e-7", "0", "-2", "123500", "1e300", "100000"]);
    }
}
