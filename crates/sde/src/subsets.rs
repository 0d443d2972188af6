//! Subsets and multisets, in order: how many there are, and how likely each is.

/// The first number below `len` for which `before` is false; it is true up to there.
pub(crate) fn partition_point(len: usize, before: impl Fn(usize) -> bool) -> usize {
    let (mut low, mut high) = (0, len);
    while low < high {
        let middle = usize::midpoint(low, high);
        if before(middle) {
            low = middle + 1;
        } else {
            high = middle;
        }
    }
    low
}

/// The next multiset in order, or the next subset; false after the last.
pub(crate) fn advance(current: &mut [usize], n: usize, with: bool) -> bool {
    let m = current.len();
    let last = |k: usize| if with { n - 1 } else { n - m + k };
    let Some(k) = (0..m).rev().find(|&k| current[k] < last(k)) else { return false };
    current[k] += 1;
    for j in k + 1..m {
        current[j] = if with { current[k] } else { current[j - 1] + 1 };
    }
    true
}

pub(crate) fn binomial(n: usize, k: usize) -> f64 {
    if k > n {
        return 0.;
    }
    (0..k.min(n - k)).fold(1., |product, i| product * (n - i) as f64 / (i + 1) as f64).round()
}

/// The probability of a sorted multiset: m!/∏ multiplicities! / nᵐ.
pub(crate) fn multinomial(sorted: &[usize], n: usize) -> f64 {
    let (mut probability, mut run) = (1., 0);
    for (i, member) in sorted.iter().enumerate() {
        run = if i > 0 && sorted[i - 1] == *member { run + 1 } else { 1 };
        probability *= (i + 1) as f64 / (run as f64 * n as f64);
    }
    probability
}
