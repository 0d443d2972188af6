//! The limit on memory: a request that would need more is refused before anything is allocated.

use crate::error::Error;

/// The most bytes that a request may need at once, temporaries included: 4 GiB, which a laptop has. Without the limit
/// the system would kill the program, and the caller could not react.
const MOST: f64 = 4. * GIB;

const MIB: f64 = 1024. * 1024.;
const GIB: f64 = 1024. * MIB;

/// Refuses what needs so many `bytes`, if these are more than 4 GiB. They come as a float, which no product of sizes
/// overflows. `what` is the subject of the sentence, and `instead` its end: what to do.
///
/// # Errors
/// Names the size, and what to do instead.
pub(crate) fn fits(what: &str, bytes: f64, instead: &str) -> Result<(), Error> {
    if bytes <= MOST {
        return Ok(());
    }
    Err(Error::too_large(format!(
        "{what} would take {} of memory; expected at most {}: {instead}",
        size(bytes),
        size(MOST)
    )))
}

/// The bytes of so many numbers.
pub(crate) fn numbers(count: f64) -> f64 {
    count * size_of::<f64>() as f64
}

fn size(bytes: f64) -> String {
    if bytes < GIB { format!("{:.1} MiB", bytes / MIB) } else { format!("{:.1} GiB", bytes / GIB) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_too_large_is_refused_with_its_size() {
        assert!(fits("a matrix", numbers(1e4 * 1e4), "a smaller one").is_ok());
        let text = fits("a matrix", numbers(1e5 * 1e5), "take a smaller one").unwrap_err().to_string();
        assert_eq!(text, "a matrix would take 74.5 GiB of memory; expected at most 4.0 GiB: take a smaller one");
        assert!(fits("all", numbers(usize::MAX as f64).powi(9), "less").is_err());
        assert_eq!(size(3. * MIB), "3.0 MiB");
    }
}
