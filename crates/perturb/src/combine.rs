//! How the gradients at x and at x + ε become the direction to descend: one file a way.

mod blend;
mod descend;
mod gsam;
mod look;
mod selected;
mod stable;
mod steep;

pub use blend::Blend;
pub use descend::Descend;
pub use gsam::Gsam;
pub use look::Look;
pub use selected::Selected;
pub use stable::Stable;
pub use steep::Steep;
