//! How an ascent direction becomes an offset: one file for each, and one for each thing that is done to a gradient or
//! an offset on the way.

mod adaptive;
mod averaged;
mod decayed;
mod eigen;
mod friendly;
mod grouped;
mod l2;
mod linf;
mod raw;
mod scheduled;
mod sparse;
mod steps;
mod unified;

pub use adaptive::Adaptive;
pub use averaged::Averaged;
pub use decayed::Decayed;
pub use eigen::Eigen;
pub use friendly::Friendly;
pub use grouped::Grouped;
pub use l2::L2;
pub use linf::Linf;
pub use raw::Raw;
pub use scheduled::{RhoSchedule, Scheduled};
pub use sparse::Sparse;
pub use steps::Steps;
pub use unified::Unified;
