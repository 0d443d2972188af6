//! The networks against PyTorch's: names, counts, numbers, and what must hold of any of them.

#![allow(clippy::unwrap_used, reason = "a test that finds nothing to unwrap has failed")]

mod invariants;
mod names;
mod numbers;
mod parity;
mod positions;
mod recorder;

/// A file that `tests/fixtures/make.py` wrote.
fn fixture(name: &str) -> std::path::PathBuf {
    std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures").join(name)
}

/// A tensor as a line of the lists that `make.py` writes: name, dtype, shape.
fn row(name: &str, dtype: candle_core::DType, shape: &[usize]) -> String {
    let shape: Vec<String> = shape.iter().map(usize::to_string).collect();
    format!("{name} {} {}", dtype.as_str().to_uppercase(), shape.join("x")).trim().to_owned()
}
