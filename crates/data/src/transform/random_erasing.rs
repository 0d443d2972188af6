//! Random erasing: a rectangle without content.

use crate::Error;
use crate::draw::Draw;
use crate::resize::Region;

/// torchvision's `RandomErasing(p, scale, ratio, value = 0)` (Zhong et al. 2020, <https://arxiv.org/abs/1708.04896>):
/// with probability p a rectangle is 0 after the normalisation, which is the mean of each channel. Its share of the
/// area is uniform in `scale`, height by width log-uniform in `ratio`; after ten draws that do not fit nothing is
/// erased.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct RandomErasing {
    /// The probability.
    pub p: f64,
    /// The least and the largest share of the area; within 0 and 1.
    pub scale: (f64, f64),
    /// The least and the largest height by width; above 0.
    pub ratio: (f64, f64),
}

impl Default for RandomErasing {
    /// With probability ½, 2 % to 33 % of the area, at 0.3 to 3.3.
    fn default() -> Self {
        Self { p: 0.5, scale: (0.02, 0.33), ratio: (0.3, 3.3) }
    }
}

impl RandomErasing {
    pub(super) fn check(&self) -> Result<(), Error> {
        let Self { p, scale, ratio } = *self;
        let wrong = if !(0. ..=1.).contains(&p) {
            format!("p of the random erasing is {p}, expected a probability")
        } else if !(0. <= scale.0 && scale.0 <= scale.1 && scale.1 <= 1.) {
            format!("scale of the random erasing is {} to {}, expected a range within 0 and 1", scale.0, scale.1)
        } else if !(0. < ratio.0 && ratio.0 <= ratio.1 && ratio.1.is_finite()) {
            format!("ratio of the random erasing is {} to {}, expected a finite range above 0", ratio.0, ratio.1)
        } else {
            return Ok(());
        };
        Err(Error::InvalidArgument(wrong))
    }

    /// The rectangle for one picture of `size`·`size` pixels.
    pub(super) fn draw(&self, size: usize, draw: &mut Draw) -> Option<Region> {
        if !draw.chance(self.p) {
            return None;
        }
        let area = (size * size) as f64;
        (0..10).find_map(|_| {
            let share = area * draw.between(self.scale.0, self.scale.1);
            let aspect = draw.log_between(self.ratio.0, self.ratio.1);
            let h = (share * aspect).sqrt().round_ties_even() as usize;
            let w = (share / aspect).sqrt().round_ties_even() as usize;
            let fits = h < size && w < size;
            fits.then(|| Region::at(draw.below(size - h + 1), draw.below(size - w + 1), h, w))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use msharp_core::Key;

    #[test]
    fn rectangles_have_the_areas_and_ratios_that_are_stated() {
        let mut draw = Draw::new(Key::new(5));
        let erasing = RandomErasing::default();
        const N: usize = 6000;
        let drawn: Vec<Region> = (0..N).filter_map(|_| erasing.draw(200, &mut draw)).collect();
        assert!(drawn.len().abs_diff(N / 2) < 160, "{}", drawn.len());
        let (mut areas, mut logs) = (0., 0.);
        for Region { rows, columns } in &drawn {
            assert!(rows.end <= 200 && columns.end <= 200);
            let (h, w) = (rows.len() as f64, columns.len() as f64);
            assert!((0.019..=0.335).contains(&(h * w / 40_000.)) && (0.28..=3.5).contains(&(h / w)));
            areas += h * w / 40_000. / drawn.len() as f64;
            logs += (h / w).ln() / drawn.len() as f64;
        }
        // Uniform and log-uniform, with next to no refusals: 0.175, and ln 0.99 / 2.
        assert!((areas - 0.175).abs() < 0.01 && logs.abs() < 0.05, "{areas} {logs}");
    }

    #[test]
    fn what_never_fits_is_not_erased() {
        let all = RandomErasing { p: 1., scale: (1., 1.), ..RandomErasing::default() };
        assert_eq!(all.draw(50, &mut Draw::new(Key::new(0))), None);
        let never = RandomErasing { p: 0., ..RandomErasing::default() };
        assert_eq!(never.draw(50, &mut Draw::new(Key::new(0))), None);
    }
}
