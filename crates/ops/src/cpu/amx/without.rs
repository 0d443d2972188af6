//! What `kernel` is on another processor or system.

use super::{Block, Side, TileProduct};
use crate::cpu::parallel::Region;
use crate::cpu::product::Matrix;

pub(super) fn is_permitted() -> bool {
    false
}

/// # Safety
/// Never called.
pub(super) unsafe fn pack(_: Side, _: Matrix<f32>, _: usize, _: usize, _: Region<Block>) {
    unreachable!("there are no tiles")
}

/// # Safety
/// Never called.
pub(super) unsafe fn multiply(_: TileProduct<f32>) {
    unreachable!("there are no tiles")
}
