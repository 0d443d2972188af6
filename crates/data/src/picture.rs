//! One picture in memory: RGB bytes of any size.

/// A decoded picture.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Picture {
    /// Rows; at least 1.
    pub height: usize,
    /// Columns; at least 1.
    pub width: usize,
    /// `[h, w, 3]`, row by row from the top, the bytes of a pixel in the order red, green, blue.
    pub pixels: Vec<u8>,
}
