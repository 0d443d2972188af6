//! Convolutions that every way of computing one has to be tried on.

/// Kernel, stride, padding, image, channels in and out: so that every way of computing is taken, and sizes are odd.
pub type Shape = ((usize, usize), (usize, usize), (usize, usize), (usize, usize), usize, usize);

pub const SHAPES: [Shape; 14] = [
    ((1, 1), (1, 1), (0, 0), (5, 3), 4, 6),
    ((1, 1), (1, 1), (0, 0), (3, 3), 70, 40),
    ((1, 1), (2, 2), (0, 0), (7, 5), 6, 5),
    ((1, 1), (2, 2), (0, 0), (6, 6), 60, 80),
    ((1, 1), (1, 1), (1, 1), (3, 4), 30, 40),
    ((3, 3), (1, 1), (1, 1), (4, 4), 40, 50),
    ((3, 3), (1, 1), (0, 1), (5, 6), 33, 37),
    ((3, 3), (1, 1), (2, 0), (4, 7), 40, 36),
    ((3, 3), (1, 1), (1, 1), (13, 11), 9, 17),
    ((3, 3), (1, 1), (1, 1), (12, 12), 3, 8),
    ((3, 3), (2, 2), (1, 1), (9, 8), 5, 12),
    ((3, 3), (2, 2), (1, 1), (5, 5), 40, 48),
    ((5, 2), (3, 1), (2, 1), (7, 6), 20, 24),
    ((4, 4), (1, 1), (0, 0), (4, 4), 3, 10),
];
