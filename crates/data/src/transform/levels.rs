//! Operations that map the bytes of a channel by a table.

/// Replaces each byte by the entry of its channel's table.
fn map(pixels: &mut [u8], tables: &[[u8; 256]; 3]) {
    for pixel in pixels.chunks_exact_mut(3) {
        pixel.iter_mut().zip(tables).for_each(|(byte, table)| *byte = table[*byte as usize]);
    }
}

/// Maps each channel by the table that `table` makes of the counts of its bytes.
fn map_by_counts(pixels: &mut [u8], table: impl Fn(&[usize; 256]) -> [u8; 256]) {
    let mut counts = [[0; 256]; 3];
    for pixel in pixels.chunks_exact(3) {
        counts.iter_mut().zip(pixel).for_each(|(counts, byte)| counts[*byte as usize] += 1);
    }
    map(pixels, &counts.each_ref().map(table));
}

/// The table that changes nothing.
const SAME: [u8; 256] = {
    let mut table = [0; 256];
    let mut byte = 0;
    while byte < 256 {
        table[byte] = byte as u8;
        byte += 1;
    }
    table
};

pub(super) fn posterize(pixels: &mut [u8], bits: u32) {
    let mask = !(0xff_u32 >> bits.min(8)) as u8;
    pixels.iter_mut().for_each(|byte| *byte &= mask);
}

pub(super) fn solarize(pixels: &mut [u8], threshold: f32) {
    for byte in pixels {
        *byte = if f32::from(*byte) < threshold { *byte } else { 255 - *byte };
    }
}

pub(super) fn autocontrast(pixels: &mut [u8]) {
    map_by_counts(pixels, |counts| {
        let (low, high) = (counts.iter().position(|&n| n > 0), counts.iter().rposition(|&n| n > 0));
        match (low, high) {
            (Some(low), Some(high)) if low < high => {
                let scale = 255. / (high - low) as f64;
                let offset = -(low as f64) * scale;
                std::array::from_fn(|byte| (byte as f64 * scale + offset) as u8)
            }
            _ => SAME,
        }
    });
}

pub(super) fn equalize(pixels: &mut [u8]) {
    map_by_counts(pixels, |counts| {
        let last = counts.iter().rfind(|&&n| n > 0).copied().unwrap_or(0);
        let step = (counts.iter().sum::<usize>() - last) / 255;
        if step == 0 {
            return SAME; // one value, or too few pixels
        }
        let mut below = step / 2;
        std::array::from_fn(|byte| {
            let level = below / step;
            below += counts[byte];
            level.min(255) as u8
        })
    });
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_colour_has_no_contrast_to_stretch() {
        for change in [autocontrast, equalize] {
            let mut pixels = [7, 80, 255].repeat(400);
            change(&mut pixels);
            assert_eq!(pixels, [7, 80, 255].repeat(400));
        }
    }

    #[test]
    fn autocontrast_stretches_each_channel_to_both_ends() {
        let mut pixels: Vec<u8> = [[50, 0, 10], [67, 255, 13], [101, 9, 11]].concat();
        autocontrast(&mut pixels);
        assert_eq!(pixels, [[0, 0, 0], [85, 255, 255], [255, 9, 85]].concat());
    }

    #[test]
    fn a_uniform_histogram_stays() {
        let original: Vec<u8> = (0..=255).flat_map(|byte| [byte; 3]).collect::<Vec<u8>>().repeat(2);
        let mut pixels = original.clone();
        equalize(&mut pixels);
        let far = original.iter().zip(&pixels).map(|(a, b)| a.abs_diff(*b)).max();
        assert!(far <= Some(1), "{far:?}");
    }

    #[test]
    fn bits_and_thresholds_at_their_ends() {
        let original: Vec<u8> = (0..=254).collect();
        let changed = |change: &dyn Fn(&mut [u8])| {
            let mut pixels = original.clone();
            change(&mut pixels);
            pixels
        };
        assert_eq!(changed(&|pixels| posterize(pixels, 8)), original);
        assert!(changed(&|pixels| posterize(pixels, 1)).iter().all(|byte| [0, 128].contains(byte)));
        assert_eq!(changed(&|pixels| solarize(pixels, 255.)), original);
        assert!(changed(&|pixels| solarize(pixels, 0.)).iter().zip(&original).all(|(a, b)| *a == 255 - b));
    }
}
