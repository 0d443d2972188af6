//! How the gradients at x and at x + ε become the direction to descend: one file for each combination.

mod ae_sam;
mod blend;
mod descend;
mod esam_select;
mod gsam;
mod look_sam;
mod stable;
mod weighted;

pub use ae_sam::AeSam;
pub use blend::Blend;
pub use descend::Descend;
pub use esam_select::EsamSelect;
pub use gsam::Gsam;
pub use look_sam::LookSam;
pub use stable::Stable;
pub use weighted::Weighted;
