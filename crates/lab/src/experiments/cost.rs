//! `reproduce cost`.

mod page;

use super::cifar10::{View, set_up_of_networks};
use crate::config::RunConfig;

/// The time of the runs of `cifar10`, per step and until one test accuracy.
pub static COST: View = View {
    name: "cost",
    question: "What do the rules cost, per step and to one accuracy? Runs of cifar10",
    about,
    page: page::page,
};

/// Above the table.
fn about(configs: &[RunConfig]) -> String {
    format!(
        "{} The runs of `cifar10`, whose page says how ρ was chosen. m-SAM has its micro-batches all at once \
         (docs/parallel-m-sam.md). The time of a step is that of the shortest epoch of all runs of the rule on one \
         machine, divided by its steps, since other work makes epochs longer and never shorter; evaluation is not \
         counted. `cargo xtask bench m` measures steps alone, for every m and beside PyTorch.",
        set_up_of_networks(configs)
    )
}
