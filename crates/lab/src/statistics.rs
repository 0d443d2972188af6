//! Means and deviations over seeds.

pub mod paired;
pub mod slope;

/// Mean, sample standard deviation, and how many.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Summary {
    /// The mean.
    pub mean: f64,
    /// √(Σ(x − mean)²/(n − 1)); none for a single value.
    pub std: Option<f64>,
    /// n.
    pub n: usize,
}

/// None if there are no values.
pub fn summarise(values: &[f64]) -> Option<Summary> {
    let n = values.len();
    let mean = values.iter().sum::<f64>() / n as f64;
    let square: f64 = values.iter().map(|x| (x - mean) * (x - mean)).sum();
    (n > 0).then(|| Summary { mean, std: (n > 1).then(|| (square / (n - 1) as f64).sqrt()), n })
}

/// The value in the middle, the upper one of two; NaN if there are none.
pub fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values.get(values.len() / 2).copied().unwrap_or(f64::NAN)
}

impl Summary {
    /// `61.23 ± 0.45`, or `61.23` for a single value.
    pub fn text(&self, decimals: usize) -> String {
        match self.std {
            Some(std) => format!("{:.decimals$} ± {std:.decimals$}", self.mean),
            None => format!("{:.decimals$}", self.mean),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_deviation_is_the_samples() {
        let summary = summarise(&[1., 2., 3., 4.]).unwrap();
        assert_eq!(summary.mean, 2.5);
        assert!((summary.std.unwrap() - (5f64 / 3.).sqrt()).abs() < 1e-15);
        assert_eq!(summary.text(2), "2.50 ± 1.29");
        assert_eq!(summarise(&[7.]).unwrap().text(1), "7.0");
        assert!(summarise(&[]).is_none());
    }
}
