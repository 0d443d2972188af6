//! The tests are in `main.rs` and its modules; here the README's Rust examples are compiled and run as doctests.

/// The README.
#[cfg(doctest)]
#[doc = include_str!("../../README.md")]
pub struct Readme;
