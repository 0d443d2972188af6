//! Resizing against its definition, and windows, crops and mirrors against whole pictures.

use super::*;
use crate::draw::Draw;
use msharp_core::Key;

pub(crate) fn noise(height: usize, width: usize, seed: u64) -> Picture {
    let mut draw = Draw::new(Key::new(seed));
    Picture { height, width, pixels: (0..height * width * CHANNELS).map(|_| draw.below(256) as u8).collect() }
}

fn crop(picture: &Picture, Region { rows, columns }: &Region) -> Picture {
    let row = |y: usize| &picture.pixels[(y * picture.width + columns.start) * CHANNELS..][..columns.len() * CHANNELS];
    let pixels = rows.clone().flat_map(row).copied().collect();
    Picture { height: rows.len(), width: columns.len(), pixels }
}

fn mirror(picture: &Picture) -> Picture {
    let rows = picture.pixels.chunks_exact(picture.width * CHANNELS);
    let pixels = rows.flat_map(|row| row.rchunks_exact(CHANNELS)).flatten().copied().collect();
    Picture { pixels, ..picture.clone() }
}

#[test]
fn a_window_of_a_crop_is_that_part_of_the_resized_crop() -> candle_core::Result<()> {
    let mut draw = Draw::new(Key::new(1));
    let mut within = |n: usize| {
        let length = 1 + draw.below(n);
        let start = draw.below(n - length + 1);
        start..start + length
    };
    for i in 0..200 {
        let picture = noise(1 + i % 17, 1 + i % 23, i as u64);
        let from = Region { rows: within(picture.height), columns: within(picture.width) };
        let size = (1 + i % 13, 1 + i % 19);
        let window = Region { rows: within(size.0), columns: within(size.1) };
        let interpolation = [Interpolation::Bilinear, Interpolation::Bicubic][i % 2];
        let whole = crop(&picture, &from).resize(size.0, size.1, interpolation)?;
        let part = crop(&whole, &window);
        let resizing = Resizing { crop: from, size, window, mirrored: false, interpolation };
        assert_eq!(resizing.apply(&picture), part, "{resizing:?}");
        assert_eq!(Resizing { mirrored: true, ..resizing }.apply(&picture), mirror(&part));
    }
    Ok(())
}

#[test]
fn the_same_size_is_the_same_picture_and_one_colour_stays() -> candle_core::Result<()> {
    for interpolation in [Interpolation::Bilinear, Interpolation::Bicubic] {
        let picture = noise(9, 14, 3);
        assert_eq!(picture.resize(9, 14, interpolation)?, picture);
        let grey = Picture { pixels: vec![201; picture.pixels.len()], ..picture };
        for (h, w) in [(1, 1), (5, 90), (33, 2)] {
            assert!(grey.resize(h, w, interpolation)?.pixels.iter().all(|&byte| byte == 201));
        }
    }
    Ok(())
}

/// The sum over all sources in f64, rounded between the passes: the definition without fixed point and windows.
#[test]
fn agrees_with_sums_over_all_pixels_within_one_grey_level() -> candle_core::Result<()> {
    for (interpolation, (h, w)) in [(Interpolation::Bilinear, (4, 31)), (Interpolation::Bicubic, (25, 6))] {
        let picture = noise(11, 15, 8);
        let weights = |n: usize, m: usize, i: usize| -> Vec<f64> {
            let scale = n as f64 / m as f64;
            let at = |j: usize| interpolation.weight((j as f64 + 0.5 - (i as f64 + 0.5) * scale) / scale.max(1.));
            let sum: f64 = (0..n).map(at).sum();
            (0..n).map(|j| at(j) / sum).collect()
        };
        let found = picture.resize(h, w, interpolation)?;
        for (at, &byte) in found.pixels.iter().enumerate() {
            let (y, x, c) = (at / CHANNELS / w, at / CHANNELS % w, at % CHANNELS);
            let row = |j: usize| -> f64 {
                let value = |i: usize| f64::from(picture.pixels[(j * 15 + i) * CHANNELS + c]);
                let sum: f64 = weights(15, w, x).iter().enumerate().map(|(i, weight)| weight * value(i)).sum();
                sum.round().clamp(0., 255.)
            };
            let sum: f64 = weights(11, h, y).iter().enumerate().map(|(j, weight)| weight * row(j)).sum();
            assert!((sum.clamp(0., 255.) - f64::from(byte)).abs() < 1.01, "{sum} {byte}");
        }
    }
    Ok(())
}

#[test]
fn a_picture_that_contradicts_itself_is_an_error() {
    for (height, width, bytes) in [(2, 2, 11), (0, 2, 0), (usize::MAX, usize::MAX, 3)] {
        let picture = Picture { height, width, pixels: vec![0; bytes] };
        let error = picture.resize(1, 1, Interpolation::Bilinear).unwrap_err().to_string();
        assert!(error.contains("expected h·w·3"), "{error}");
    }
    assert!(noise(2, 2, 0).resize(0, 1, Interpolation::Bilinear).is_err());
    assert!("nearest".parse::<Interpolation>().unwrap_err().to_string().contains("expected bilinear or bicubic"));
}
