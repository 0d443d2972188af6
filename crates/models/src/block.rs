//! The residual blocks of ResNet: convolutions with normalisations, and a shortcut.

use crate::{Conv2d, Norm, NormLayer};
use candle_core::{Result, Tensor};
use candle_nn::VarBuilder;
use msharp_ops::Activation;

/// The two residual blocks of He et al. (2016, <https://arxiv.org/abs/1512.03385>), as `kernel, channels` of their
/// convolutions; w is the width of the stage.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Block {
    /// `3, w` → `3, w`; a stride is that of the first convolution. The output has w channels.
    Basic,
    /// `1, w` → `3, w` → `1, 4w`; a stride is that of the middle convolution, as in torchvision (in the paper, of the
    /// first). The output has 4w channels.
    Bottleneck,
}

impl Block {
    /// Output channels as a multiple of the width.
    pub(crate) fn expansion(self) -> usize {
        match self {
            Block::Basic => 1,
            Block::Bottleneck => 4,
        }
    }
}

/// What a residual block adds to F(x) where it changes the shape of x; elsewhere it adds x itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Shortcut {
    /// A 1×1 convolution with the block's stride, and a normalisation: option B of He et al. (2016).
    Projection,
    /// Every other row and column of x, between channels of zeros, half of the new ones on either side: option A of He
    /// et al. (2016), without parameters. Of an odd number of new channels the last side has one more.
    Padding,
}

type ConvNorm = (Conv2d, NormLayer);

/// relu(F(x) + shortcut(x)), where F is a chain of convolution, norm and, except after the last, ReLU.
#[derive(Clone, Debug)]
pub(crate) struct ResidualBlock {
    body: Vec<ConvNorm>,
    last: ConvNorm,
    downsample: Downsample,
}

/// The shortcut of one block.
#[derive(Clone, Debug)]
enum Downsample {
    /// The shape stays.
    Identity,
    Projected(ConvNorm),
    /// A 1×1 convolution with constant weights, each 0 or 1, which gives the same bits as copying.
    Padded(Conv2d),
}

impl Downsample {
    fn new(shortcut: Shortcut, c_in: usize, c_out: usize, stride: usize, norm: Norm, vb: VarBuilder) -> Result<Self> {
        if stride == 1 && c_in == c_out {
            return Ok(Downsample::Identity);
        }
        let vb = vb.pp("downsample");
        Ok(match shortcut {
            Shortcut::Projection => {
                let conv = Conv2d::new(c_in, c_out, 1, stride, vb.pp(0))?;
                Downsample::Projected((conv, NormLayer::new(norm, c_out, vb.pp(1))?))
            }
            Shortcut::Padding => {
                let before = c_out.saturating_sub(c_in) / 2;
                let one = |i: usize| if i / c_in == i % c_in + before { 1f32 } else { 0. };
                let weight = Tensor::from_iter((0..c_out * c_in).map(one), vb.device())?;
                let weight = weight.reshape((c_out, c_in, 1, 1))?.to_dtype(vb.dtype())?;
                Downsample::Padded(Conv2d::constant(weight, stride))
            }
        })
    }
}

impl ResidualBlock {
    pub fn new(
        (block, shortcut): (Block, Shortcut),
        c_in: usize,
        width: usize,
        stride: usize,
        norm: Norm,
        vb: VarBuilder,
    ) -> Result<Self> {
        let c_out = width * block.expansion();
        let conv_norm = |i: usize, c_in, c_out, kernel, stride| -> Result<ConvNorm> {
            let conv = Conv2d::new(c_in, c_out, kernel, stride, vb.pp(format!("conv{i}")))?;
            Ok((conv, NormLayer::new(norm, c_out, vb.pp(format!("bn{i}")))?))
        };
        let (body, last) = match block {
            Block::Basic => (vec![conv_norm(1, c_in, width, 3, stride)?], conv_norm(2, width, c_out, 3, 1)?),
            Block::Bottleneck => (
                vec![conv_norm(1, c_in, width, 1, 1)?, conv_norm(2, width, width, 3, stride)?],
                conv_norm(3, width, c_out, 1, 1)?,
            ),
        };
        Ok(Self { body, last, downsample: Downsample::new(shortcut, c_in, c_out, stride, norm, vb)? })
    }
}

impl ResidualBlock {
    pub fn apply<X: Activation>(&self, xs: &X, train: bool) -> Result<X> {
        let shortcut = match &self.downsample {
            Downsample::Identity => xs.clone(),
            Downsample::Projected((conv, norm)) => norm.apply(&conv.apply(xs)?, train)?,
            Downsample::Padded(conv) => conv.apply(xs)?,
        };
        let mut h = xs.clone(); // [b, h, w, c_in]
        for (conv, norm) in &self.body {
            h = norm.forward_relu(&conv.apply(&h)?, train)?;
        }
        let (conv, norm) = &self.last;
        norm.forward_add_relu(&conv.apply(&h)?, &shortcut, train) // [b, h/stride, w/stride, c_out]
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use candle_core::{DType, Device, IndexOp};

    #[test]
    fn a_padded_shortcut_is_every_other_pixel_between_zeros() -> Result<()> {
        let x = Tensor::randn(0f32, 1., (2, 5, 4, 3), &Device::Cpu)?;
        for (c_out, before) in [(6, 1), (7, 2), (3, 0)] {
            let vb = VarBuilder::zeros(DType::F32, &Device::Cpu);
            let shortcut = Downsample::new(Shortcut::Padding, 3, c_out, 2, Norm::Batch, vb)?;
            let Downsample::Padded(conv) = shortcut else { panic!("expected a padded shortcut") };
            let y = conv.apply(&x)?;
            assert_eq!(y.dims(), [2, 3, 2, c_out]);
            for (b, i, j, c) in
                (0..2 * 3 * 2 * c_out).map(|k| (k / c_out / 6, k / c_out / 2 % 3, k / c_out % 2, k % c_out))
            {
                let found = y.i((b, i, j, c))?.to_scalar::<f32>()?;
                let expected = match c.checked_sub(before) {
                    Some(c) if c < 3 => x.i((b, 2 * i, 2 * j, c))?.to_scalar::<f32>()?,
                    _ => 0.,
                };
                assert_eq!(found, expected, "{c_out} channels, at {b}, {i}, {j}, {c}");
            }
        }
        Ok(())
    }
}
