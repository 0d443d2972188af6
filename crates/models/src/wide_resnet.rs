//! Wide residual networks (Zagoruyko, Komodakis 2016, <https://arxiv.org/abs/1605.07146>).

use crate::{Conv2d, Error, Linear, Norm, NormLayer};
use candle_core::{Result, Tensor};
use candle_nn::{Init, Module, ModuleT, VarBuilder};
use msharp_ops::{Activation, FeatureMap};

/// WRN-`depth`-`widen`: 3 stages of (depth − 4)/6 blocks with 16, 32 and 64 × `widen` channels, without dropout.
///
/// Published: WRN-28-10 and WRN-16-4, among others. Initialisation is the authors': convolutions as in
/// [`Conv2d::new`], scale and shift of normalisations 1 and 0, the matrix of the classifier uniform within ±1/√in and
/// its bias 0.
///
/// # Errors
/// [`Error::InvalidConfig`] if `depth` is not 6n + 4 with n ≥ 1, or `widen` is 0; an error of `vb` if it has no tensor
/// of a name and shape.
pub fn wide_resnet(depth: usize, widen: usize, norm: Norm, classes: usize, vb: VarBuilder) -> Result<WideResNet> {
    let blocks_in_stage = blocks_in_stage(depth, widen)?;
    let conv1 = Conv2d::new(3, 16, 3, 1, vb.pp("conv1"))?;
    let (mut blocks, mut channels) = (Vec::new(), 16);
    for stage in 0..3 {
        let (vb, width) = (vb.pp(format!("block{}.layer", stage + 1)), (16 * widen) << stage);
        for i in 0..blocks_in_stage {
            let stride = if stage > 0 && i == 0 { 2 } else { 1 };
            blocks.push(PreActivationBlock::new(channels, width, stride, norm, vb.pp(i))?);
            channels = width;
        }
    }
    let bn1 = NormLayer::new(norm, channels, vb.pp("bn1"))?;
    let fc = Linear::with_bias_init(channels, classes, Init::Const(0.), vb.pp("fc"))?;
    Ok(WideResNet { conv1, blocks, bn1, fc })
}

/// n, where depth = 6n + 4: three stages of blocks with two convolutions each, the stem, two widening shortcuts and
/// the classifier.
pub(crate) fn blocks_in_stage(depth: usize, widen: usize) -> std::result::Result<usize, Error> {
    match depth.checked_sub(4).map(|convs| (convs / 6, convs % 6)) {
        Some((n, 0)) if n > 0 && widen > 0 => Ok(n),
        _ => Err(Error::InvalidConfig(format!(
            "no WRN-{depth}-{widen}: the depth must be 6n + 4 (10, 16, 22, 28, …), the width at least 1"
        ))),
    }
}

/// A wide residual network with the parameter names of the common PyTorch port, `xternalz/WideResNet-pytorch`:
/// `conv1`, `block1.layer.0.bn1`, `.conv1`, `.bn2`, `.conv2`, `.convShortcut`, …, `bn1`, `fc`.
///
/// torchvision has no such network (its `wide_resnet50_2` is a bottleneck ResNet), and the authors' Lua has no names.
#[derive(Clone, Debug)]
pub struct WideResNet {
    conv1: Conv2d,
    blocks: Vec<PreActivationBlock>,
    bn1: NormLayer,
    fc: Linear,
}

impl WideResNet {
    /// The input of the classifier: images `[b, h, w, 3]` to features `[b, 64·widen]`, the mean over positions.
    pub fn features(&self, xs: &Tensor, train: bool) -> Result<Tensor> {
        let mut h = self.conv1.apply(&FeatureMap::enter(xs)?)?; // [b, h, w, 16]
        for block in &self.blocks {
            h = block.apply(&h, train)?;
        }
        msharp_ops::global_avg_pool2d(&self.bn1.forward_relu(&h, train)?)?.leave() // [b, h/4, w/4, c] → [b, c]
    }
}

impl ModuleT for WideResNet {
    /// Images `[b, h, w, 3]` to logits `[b, classes]`.
    fn forward_t(&self, xs: &Tensor, train: bool) -> Result<Tensor> {
        self.fc.forward(&self.features(xs, train)?)
    }
}

/// x + F(a) with a = relu(norm(x)), where the shape is kept; shortcut(a) + F(a), where it changes.
#[derive(Clone, Debug)]
struct PreActivationBlock {
    bn1: NormLayer,
    conv1: Conv2d,
    bn2: NormLayer,
    conv2: Conv2d,
    shortcut: Option<Conv2d>,
}

impl PreActivationBlock {
    fn new(c_in: usize, c_out: usize, stride: usize, norm: Norm, vb: VarBuilder) -> Result<Self> {
        let changes = c_in != c_out; // as in the port: only block1 at width 1 keeps the shape
        Ok(Self {
            bn1: NormLayer::new(norm, c_in, vb.pp("bn1"))?,
            conv1: Conv2d::new(c_in, c_out, 3, stride, vb.pp("conv1"))?,
            bn2: NormLayer::new(norm, c_out, vb.pp("bn2"))?,
            conv2: Conv2d::new(c_out, c_out, 3, 1, vb.pp("conv2"))?,
            shortcut: changes.then(|| Conv2d::new(c_in, c_out, 1, stride, vb.pp("convShortcut"))).transpose()?,
        })
    }
}

impl PreActivationBlock {
    fn apply<X: Activation>(&self, xs: &X, train: bool) -> Result<X> {
        let a = self.bn1.forward_relu(xs, train)?; // [b, h, w, c_in]
        let h = self.bn2.forward_relu(&self.conv1.apply(&a)?, train)?;
        let h = self.conv2.apply(&h)?; // [b, h/stride, w/stride, c_out]
        match &self.shortcut {
            Some(conv) => msharp_ops::add(&h, &conv.apply(&a)?),
            None => msharp_ops::add(&h, xs),
        }
    }
}
