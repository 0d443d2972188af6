//! `reproduce trace`.

mod page;

use super::cifar10::{View, set_up_of_networks};
use crate::config::RunConfig;

/// tr V at the end of the runs of `cifar10`: the paper's Table 6.
pub static TRACE: View = View {
    name: "trace",
    question: "The paper's Table 6: tr V at the end of the runs of cifar10",
    about,
    page: page::page,
};

/// Above the table.
fn about(configs: &[RunConfig]) -> String {
    let images =
        configs.iter().find_map(|config| config.measuring.noise_samples).unwrap_or(configs[0].optimisation.batch_size);
    format!(
        "{} The runs of `cifar10`, each rule at its best ρ. tr V is measured once an epoch on the first {images} images of a \
         training batch, which are a normalisation batch of their own, from the gradient of each: n/(n − 1) · (mean \
         ‖gᵢ‖² − ‖mean gᵢ‖²). Where a network fits its images all gradients vanish, and tr V with them, so read it beside \
         the training loss.",
        set_up_of_networks(configs)
    )
}
