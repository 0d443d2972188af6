//! Sums over ranks.

use super::*;
use msharp_ops::sum_of_ranks;

/// The order, the f64 sums and the one rounding are those of a loop, to the bit.
#[test]
fn a_sum_over_ranks_is_that_of_a_loop_to_the_bit() -> Result<()> {
    for (ranks, n) in [(1, 1), (2, 17), (3, 4096), (5, 1 << 21), (8, 1000)] {
        let chunks = noise(&[ranks, n], n as u64)?;
        let weights: Vec<f64> = (0..ranks).map(|rank| 0.1 + rank as f64 / 3.).collect();
        let divisor: f64 = weights.iter().sum();
        let rows = chunks.to_vec2::<f32>()?;
        let entry = |i: usize| {
            let sum = rows.iter().zip(&weights).fold(0., |sum, (row, weight)| sum + weight * f64::from(row[i]));
            (sum / divisor) as f32
        };
        let expected: Vec<f32> = (0..n).map(entry).collect();
        let found = sum_of_ranks(&chunks.to_device(gpu())?, &weights, divisor)?;
        assert!(found.to_vec1::<f32>()? == expected, "{ranks} ranks, {n} numbers");
    }
    let chunks = noise(&[2, 3], 1)?.to_device(gpu())?;
    let error = sum_of_ranks(&chunks, &[1.], 1.).unwrap_err().to_string();
    assert!(error.contains("1 weights for 2 rows"), "{error}");
    Ok(())
}
