//! Batch or group normalisation under the same parameter names, fused with the ReLU and residual sum that follow.

use crate::Error;
use candle_core::{DType, Result, Tensor, Var};
use candle_nn::{Init, ModuleT, VarBuilder};
use msharp_ops::{Activation, Epilogue, RunningStats};
use std::fmt::{Display, Formatter};
use std::str::FromStr;

/// Added to the variance; PyTorch's default for both kinds.
const EPS: f64 = 1e-5;
/// The weight of the new batch in the running statistics; PyTorch's default.
const MOMENTUM: f64 = 0.1;

/// The normalisation of a convolutional network: batch or group normalisation. Parses from and displays as `batch`,
/// `group-32`.
///
/// Under [`Norm::Batch`] the samples of a batch are coupled in training: the gradient of one sample's loss depends on
/// the statistics of the others, and a micro-batch is normalised by fewer samples than its batch. [`Norm::Group`] has
/// neither effect, so it isolates the effect of m in m-SAM.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum Norm {
    /// Batch normalisation: each channel over batch and positions (Ioffe, Szegedy 2015,
    /// <https://arxiv.org/abs/1502.03167>).
    #[default]
    Batch,
    /// Group normalisation: each sample over positions and the channels of a group (Wu, He 2018,
    /// <https://arxiv.org/abs/1803.08494>). The number of groups, 32 in the paper, is reduced where the layer is
    /// narrow: see [`groups`](Norm::groups).
    Group(usize),
}

impl Norm {
    /// The number of groups of a layer with `channels` channels; `None` for batch normalisation.
    ///
    /// It is the largest divisor of both the requested number and `channels` that leaves at least two channels in a
    /// group, or 1: 32 groups become 8, 16, 32 at 16, 32 and 64 channels. One channel per group would be instance
    /// normalisation, which trains worse in the paper; the narrowest layers of the paper's ResNet-50 have two.
    pub fn groups(self, channels: usize) -> Option<usize> {
        let Norm::Group(most) = self else { return None };
        (1..=channels / 2).rev().find(|g| most.is_multiple_of(*g) && channels.is_multiple_of(*g)).or(Some(1))
    }
}

impl Display for Norm {
    fn fmt(&self, f: &mut Formatter<'_>) -> std::fmt::Result {
        match self {
            Norm::Batch => write!(f, "batch"),
            Norm::Group(groups) => write!(f, "group-{groups}"),
        }
    }
}

impl FromStr for Norm {
    type Err = Error;

    /// Reads `batch`, `group` (32 groups), or `group-8` and other numbers of groups.
    fn from_str(text: &str) -> std::result::Result<Self, Error> {
        match (text, text.strip_prefix("group-").and_then(|groups| groups.parse().ok())) {
            ("batch", _) => Ok(Norm::Batch),
            ("group", _) => Ok(Norm::Group(32)),
            (_, Some(groups)) if groups > 0 => Ok(Norm::Group(groups)),
            _ => Err(Error::UnknownNorm { name: text.to_owned() }),
        }
    }
}

/// A batch or group normalisation layer with scale and shift for every channel, on `[b, h, w, c]`.
///
/// ε is 1e-5 and the momentum of the running statistics 0.1, PyTorch's defaults.
#[derive(Clone, Debug)]
pub struct NormLayer {
    weight: Tensor, // [c]
    bias: Tensor,   // [c]
    over: Over,
}

#[derive(Clone, Debug)]
enum Over {
    Batch { mean: Var, var: Var, batches: Var }, // [c], [c], i64 []
    Groups(usize),
}

impl NormLayer {
    /// Reads `weight` and `bias`, `[channels]`, or initialises them to 1 and 0. With [`Norm::Batch`] also the buffers
    /// `running_mean` and `running_var`, `[channels]` (0 and 1), and `num_batches_tracked` (i64, a scalar), which
    /// training updates.
    ///
    /// The buffers are the variables of `vb` if it provides variables, as [`Seeded`](msharp_core::Seeded) does, and
    /// copies otherwise.
    ///
    /// # Errors
    /// [`Error::InvalidConfig`] for 0 groups; an error of `vb` if it has no tensor of a name and shape.
    pub fn new(norm: Norm, channels: usize, vb: VarBuilder) -> Result<Self> {
        if norm == Norm::Group(0) {
            let text = format!("group normalisation needs at least one group, {:?} asks for 0", vb.prefix());
            return Err(Error::InvalidConfig(text).into());
        }
        let buffer = |name, value| Var::from_tensor(&vb.get_with_hints(channels, name, Init::Const(value))?);
        let over = match norm.groups(channels) {
            Some(groups) => Over::Groups(groups),
            None => Over::Batch {
                mean: buffer("running_mean", 0.)?,
                var: buffer("running_var", 1.)?,
                batches: Var::from_tensor(&batches_tracked(&vb)?)?,
            },
        };
        Ok(Self {
            weight: vb.get_with_hints(channels, "weight", Init::Const(1.))?,
            bias: vb.get_with_hints(channels, "bias", Init::Const(0.))?,
            over,
        })
    }

    /// relu(norm(x)), `[b, h, w, c]`, in one pass over memory.
    pub fn forward_relu<X: Activation>(&self, xs: &X, train: bool) -> Result<X> {
        self.with_epilogue(xs, train, Epilogue { residual: None, relu: true })
    }

    /// relu(norm(x) + residual), the end of a residual block, in one pass over memory. Input, residual and output are
    /// `[b, h, w, c]`.
    pub fn forward_add_relu<X: Activation>(&self, xs: &X, residual: &X, train: bool) -> Result<X> {
        self.with_epilogue(xs, train, Epilogue { residual: Some(residual), relu: true })
    }

    /// norm(x), `[b, h, w, c]`.
    pub fn apply<X: Activation>(&self, xs: &X, train: bool) -> Result<X> {
        self.with_epilogue(xs, train, Epilogue::default())
    }

    fn with_epilogue<X: Activation>(&self, xs: &X, train: bool, epilogue: Epilogue<X>) -> Result<X> {
        match &self.over {
            Over::Batch { mean, var, batches } => {
                let stats = RunningStats { mean, var, batches: Some(batches), momentum: MOMENTUM };
                msharp_ops::batch_norm(xs, &self.weight, &self.bias, &stats, train, EPS, epilogue)
            }
            Over::Groups(groups) => msharp_ops::group_norm(xs, *groups, &self.weight, &self.bias, EPS, epilogue),
        }
    }
}

impl ModuleT for NormLayer {
    /// As [`apply`](NormLayer::apply).
    fn forward_t(&self, xs: &Tensor, train: bool) -> Result<Tensor> {
        self.apply(xs, train)
    }
}

/// The count of batches; 0 for checkpoints from before PyTorch 0.4.1, which have none.
fn batches_tracked(vb: &VarBuilder) -> Result<Tensor> {
    let name = "num_batches_tracked";
    match vb.get_with_hints_dtype((), name, Init::Const(0.), DType::I64) {
        Err(_) if vb.contains_tensor("running_mean") && !vb.contains_tensor(name) => {
            Tensor::zeros((), DType::I64, vb.device())
        }
        found => found,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn groups_divide_and_hold_two_channels() {
        let of = |groups, channels| Norm::Group(groups).groups(channels);
        assert_eq!([16, 32, 64, 160, 512].map(|c| of(32, c)), [8, 16, 32, 32, 32].map(Some));
        assert_eq!([of(1, 64), of(8, 12), of(32, 7), of(32, 1)], [Some(1), Some(4), Some(1), Some(1)]);
        assert_eq!(Norm::Batch.groups(64), None);
    }

    #[test]
    fn names_are_read_as_they_are_written() {
        for norm in [Norm::Batch, Norm::Group(32), Norm::Group(8)] {
            assert_eq!(norm.to_string().parse::<Norm>().unwrap(), norm);
        }
        assert_eq!("group".parse::<Norm>().unwrap(), Norm::Group(32));
        for text in ["layer", "group-0", "group-", "group-x", ""] {
            let error = text.parse::<Norm>().unwrap_err();
            assert_eq!(error, Error::UnknownNorm { name: text.to_owned() });
            assert!(error.to_string().contains("there is no normalisation"), "{text}");
        }
    }
}
