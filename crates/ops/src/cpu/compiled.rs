//! The ops of activations, compiled in this crate for both kinds of them.
//!
//! A generic function is compiled where it is called, with all that it calls: without this, every network would compile
//! the kernels again.

use super::{
    attention, averages, batch_norm, convolution, dropout, first_token, gelu, group_norm, layer_norm, layer_scale,
    max_pool2d, patches, relu, softmax, tokens,
};
use crate::graph::{Activation, FeatureMap};
use crate::layers::{AttentionSize, Cut, Epilogue, Geometry, Mask, Pooling, RunningStats};
use candle_core::{Result, Tensor};

macro_rules! compiled {
    ($(fn $op:ident($($argument:ident: $kind:ty),*);)*) => {
        /// The functions of this module by the kind of activation.
        pub trait Compiled: Sized {
            $(#[doc(hidden)]
            #[allow(clippy::too_many_arguments, reason = "those of the function")]
            fn $op($($argument: $kind),*) -> Result<Self>
            where
                Self: Activation;)*
        }

        compiled! { for Tensor $(fn $op($($argument: $kind),*);)* }
        compiled! { for FeatureMap $(fn $op($($argument: $kind),*);)* }
    };
    (for $activation:ident $(fn $op:ident($($argument:ident: $kind:ty),*);)*) => {
        impl Compiled for $activation {
            $(#[inline(never)]
            fn $op($($argument: $kind),*) -> Result<Self> {
                $op($($argument),*)
            })*
        }
    };
}

compiled! {
    fn relu(x: &Self);
    fn gelu(x: &Self);
    fn softmax(x: &Self, c: usize);
    fn dropout(x: &Self, mask: Mask);
    fn max_pool2d(x: &Self, p: Pooling, shape: &[usize]);
    fn averages(x: &Self, p: Pooling, shape: &[usize]);
    fn attention(qkv: &Self, size: AttentionSize);
    fn patches(x: &Self, cut: Cut, shape: &[usize]);
    fn tokens(x: &Self, class_token: &Tensor, positions: &Tensor);
    fn first_token(x: &Self, sizes: [usize; 3]);
    fn convolution(
        op: &'static str, x: &Self, weight: &Tensor, bias: Option<&Tensor>, g: Geometry, shape: Vec<usize>
    );
    fn batch_norm(
        x: &Self, affine: (&Tensor, &Tensor), stats: &RunningStats, train: bool, eps: f64, epilogue: Epilogue<Self>
    );
    fn group_norm(x: &Self, groups: usize, affine: (&Tensor, &Tensor), eps: f64, epilogue: Epilogue<Self>);
    fn layer_norm(x: &Self, affine: (&Tensor, &Tensor), eps: f64);
    fn layer_scale(h: &Self, x: &Self, gamma: &Tensor);
}
