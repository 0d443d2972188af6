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
        "{} The runs of `cifar10`, whose page says how ρ was chosen. tr V is measured in the epochs after which the \
         run is evaluated, at their first step, on {images} images of its batch, from the gradient of each: n/(n − 1) \
         · (mean ‖gᵢ‖² − ‖mean gᵢ‖²). Under BatchNorm these images are a normalisation batch of their own, as m-SAM \
         and m-SGD with m = {images} train; SGD, SAM and RW-SAM train on normalisation batches of a whole batch. So \
         compare SGD, SAM and RW-SAM with each other, and m-SAM with m-SGD of the same m; between m-SAM and SAM the \
         normalisation differs too. Where a network fits its images all gradients vanish, and tr V with them, so read \
         it beside the training loss; and the gradient of a weight that is followed by BatchNorm is the larger the \
         smaller the weight, so that a factor holds the weights' lengths too.",
        set_up_of_networks(configs)
    )
}
