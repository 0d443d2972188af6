//! The residual blocks of ResNet: convolutions with normalisations, and a shortcut.

use crate::{Conv2d, Norm, NormLayer};
use candle_core::Result;
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

type ConvNorm = (Conv2d, NormLayer);

/// relu(F(x) + shortcut(x)), where F is a chain of convolution, norm and, except after the last, ReLU.
#[derive(Clone, Debug)]
pub(crate) struct ResidualBlock {
    body: Vec<ConvNorm>,
    last: ConvNorm,
    /// A 1×1 convolution and a norm where the shape changes, else the identity.
    downsample: Option<ConvNorm>,
}

impl ResidualBlock {
    pub fn new(block: Block, c_in: usize, width: usize, stride: usize, norm: Norm, vb: VarBuilder) -> Result<Self> {
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
        let downsample = if stride == 1 && c_in == c_out {
            None
        } else {
            let vb = vb.pp("downsample");
            Some((Conv2d::new(c_in, c_out, 1, stride, vb.pp(0))?, NormLayer::new(norm, c_out, vb.pp(1))?))
        };
        Ok(Self { body, last, downsample })
    }
}

impl ResidualBlock {
    pub fn apply<X: Activation>(&self, xs: &X, train: bool) -> Result<X> {
        let shortcut = match &self.downsample {
            Some((conv, norm)) => norm.apply(&conv.apply(xs)?, train)?,
            None => xs.clone(),
        };
        let mut h = xs.clone(); // [b, h, w, c_in]
        for (conv, norm) in &self.body {
            h = norm.forward_relu(&conv.apply(&h)?, train)?;
        }
        let (conv, norm) = &self.last;
        norm.forward_add_relu(&conv.apply(&h)?, &shortcut, train) // [b, h/stride, w/stride, c_out]
    }
}
