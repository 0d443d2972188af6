//! How transformed tiles and filters lie in memory.

use super::POSITIONS;

/// At each of 36 positions a matrix `[rows, columns]` as panels of a vector's width, `[position][panel][row][lane]`, so
/// that all products read memory in order. Of tiles: a row a tile, a column a channel. Of filters: a row an input, a
/// column an output.
#[derive(Clone, Copy)]
pub(super) struct Panels {
    pub(super) rows: usize,
    pub(super) columns: usize,
    pub(super) width: usize,
}

impl Panels {
    pub(super) fn count(&self) -> usize {
        self.columns.div_ceil(self.width)
    }

    /// Elements of a panel.
    pub(super) fn panel(&self) -> usize {
        self.rows * self.width
    }

    /// Elements from one position to the next. A cache line more than the panels take: a power of two would put all
    /// 36 into one set of the cache.
    pub(super) fn position(&self) -> usize {
        self.count() * self.panel() + 16
    }

    pub(super) fn len(&self) -> usize {
        POSITIONS * self.position()
    }
}
