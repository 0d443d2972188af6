//! Every rule as data: its name, parameters, formula, reference, and how it is built.
//!
//! A rule is written as text, `esam:beta=0.6,gamma=0.5`, parsed to a [`Rule`], and built: the result is that of the
//! constructor, `esam(0.1, 0.6, 0.5)`, to the bit. A parameter that is not written has its default. Command lines,
//! tables and records are views of [`rules`]; so are [`offsets`] and [`combinations`], the parts that can be exchanged.
//!
//! To add a rule, add one entry to [`rules`], and a file for a part that does not exist yet.
//!
//! ```
//! use msharp_perturb::catalogue::{Rule, Supplies};
//! let rule: Rule = "look-sam:k=4".parse()?;
//! assert_eq!((rule.entry().label, rule.number("rho"), rule.number("alpha")), ("LookSAM", 0.1, 0.7));
//! let look_sam = rule.build(Supplies::default())?; // look_sam(0.1, 4, 0.7)
//! let error = "look-sam:q=4".parse::<Rule>().unwrap_err().to_string();
//! assert!(error.contains("rho, k, alpha"));
//! # Ok::<(), candle_core::Error>(())
//! ```

mod built;
mod choice;
mod combinations;
mod entry;
mod offsets;
mod rules;

pub use built::{Built, Supplies};
pub use choice::{Choice, Combination, Combinations, Kind, OffsetChoice, Offsets, Rule, Rules};
pub use combinations::combinations;
pub use entry::{Domain, Entry, Needs, Parameter, Value, Values};
pub use offsets::offsets;
pub use rules::rules;
