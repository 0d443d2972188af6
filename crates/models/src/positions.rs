//! Position embeddings on another grid.

use candle_core::{DType, Device, Result, Tensor, bail};

/// The two bicubic interpolations of PyTorch's `interpolate(mode="bicubic", align_corners=False)`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Bicubic {
    /// `antialias=True`: a = −0.5, the kernel as much wider as the grid becomes smaller, without the weights beyond the
    /// border. Pillow's, and timm's for position embeddings.
    Antialiased,
    /// `antialias=False`: a = −0.75, four points, those beyond the border equal to the border. OpenCV's, and that of
    /// DINOv2's own code.
    FourPoints,
}

/// The embeddings `grid` `[h, w, d]` at `[rows, columns]` positions instead, f32 `[rows, columns, d]`. What timm's
/// `resample_abs_pos_embed` does is [`Bicubic::Antialiased`].
///
/// # Errors
/// If `grid` has another rank, or a dimension of either is 0.
pub fn resample_positions(grid: &Tensor, [rows, columns]: [usize; 2], bicubic: Bicubic) -> Result<Tensor> {
    let &[h, w, d] = grid.dims() else { bail!("expected positions [h, w, d], got {:?}", grid.dims()) };
    if [h, w, d, rows, columns].contains(&0) {
        bail!("positions {:?} cannot be resampled to {rows}×{columns}", grid.dims());
    }
    let grid = grid.to_dtype(DType::F32)?.to_device(&Device::Cpu)?;
    let down = bicubic.matrix(h, rows)?.matmul(&grid.reshape((h, w * d))?)?.reshape((rows, w, d))?;
    bicubic.matrix(w, columns)?.broadcast_matmul(&down) // [rows, columns, d]
}

impl Bicubic {
    /// The weight of each of the `from` points in each of the `to` new ones, `[to, from]`.
    fn matrix(self, from: usize, to: usize) -> Result<Tensor> {
        let scale = from as f64 / to as f64;
        let mut weights = vec![0f64; to * from];
        for (i, row) in weights.chunks_exact_mut(from).enumerate() {
            let centre = scale * (i as f64 + 0.5); // in pixels of 1, the first from 0 to 1
            match self {
                Bicubic::Antialiased => {
                    let width = scale.max(1.);
                    for (j, weight) in row.iter_mut().enumerate() {
                        *weight = kernel((j as f64 + 0.5 - centre) / width, -0.5);
                    }
                    let sum: f64 = row.iter().sum();
                    row.iter_mut().for_each(|weight| *weight /= sum);
                }
                Bicubic::FourPoints => {
                    let before = (centre - 0.5).floor();
                    for point in [-1., 0., 1., 2.].map(|offset| before + offset) {
                        let nearest = point.clamp(0., from as f64 - 1.) as usize;
                        row[nearest] += kernel(point + 0.5 - centre, -0.75);
                    }
                }
            }
        }
        Tensor::from_iter(weights.into_iter().map(|weight| weight as f32), &Device::Cpu)?.reshape((to, from))
    }
}

/// The cubic convolution kernel (Keys 1981): 1 at 0, 0 at all other whole numbers and beyond 2.
fn kernel(x: f64, a: f64) -> f64 {
    let x = x.abs();
    if x < 1. {
        ((a + 2.) * x - (a + 3.)) * x * x + 1.
    } else if x < 2. {
        ((a * x - 5. * a) * x + 8. * a) * x - 4. * a
    } else {
        0.
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_grid_is_itself_and_a_constant_stays_one() -> Result<()> {
        let grid = Tensor::arange(0f32, 30., &Device::Cpu)?.reshape((3, 5, 2))?;
        for bicubic in [Bicubic::Antialiased, Bicubic::FourPoints] {
            let same = resample_positions(&grid, [3, 5], bicubic)?;
            assert_eq!(same.flatten_all()?.to_vec1::<f32>()?, grid.flatten_all()?.to_vec1::<f32>()?);
            for to in [[1, 1], [2, 7], [8, 3]] {
                let ones = resample_positions(&grid.ones_like()?, to, bicubic)?;
                assert_eq!(ones.dims(), [to[0], to[1], 2]);
                for value in ones.flatten_all()?.to_vec1::<f32>()? {
                    assert!((value - 1.).abs() < 1e-6, "{bicubic:?} {to:?}: {value}");
                }
            }
        }
        let empty = Tensor::zeros((0, 5, 2), DType::F32, &Device::Cpu)?;
        assert!(resample_positions(&empty, [3, 5], Bicubic::Antialiased).is_err());
        assert!(resample_positions(&grid, [0, 5], Bicubic::FourPoints).unwrap_err().to_string().contains("0×5"));
        Ok(())
    }
}
