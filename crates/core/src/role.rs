//! What a parameter is for: known from its name and from what is beside it.

use candle_core::Var;
use std::collections::BTreeMap;
use std::fmt::{Display, Formatter};

/// What a parameter is for; rules and optimizers select by it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// A matrix or a filter: two or more dimensions.
    Weight,
    /// The shift of a linear layer or a convolution, what a vision transformer adds to its tokens, and every other
    /// vector that is no norm layer's: LayerScale's γ, the slope of a PReLU.
    Bias,
    /// The scale or the shift of a normalisation layer.
    Norm,
}

impl Display for Role {
    fn fmt(&self, f: &mut Formatter<'_>) -> std::fmt::Result {
        f.pad(match self {
            Role::Weight => "weight",
            Role::Bias => "bias",
            Role::Norm => "norm",
        })
    }
}

/// The rule for roles, from the names and the shapes of `all` variables. A *vector* has at most one dimension above 1,
/// and, where it is called `weight`, no other: `[c]`, or `[c, 1, 1]` called `layer_scale`.
///
/// - `running_mean`, `running_var` and `num_batches_tracked` are buffers (`None`), and so is whatever is no float;
/// - tokens and position embeddings, which are added to activations and multiply none, are [`Role::Bias`], so that they
///   are free of weight decay where biases are: a last part that is or ends in `token` or `tokens` (`cls_token`,
///   `reg_token`, `mask_token`, `class_token`), or has `pos_emb`, `position_embedding`, `positional_embedding`,
///   `class_embedding`, `rel_pos`, `relative_position_bias`, `relative_attention_bias` or `attention_biases` in it, or
///   is the `weight` of a part that has, or of `wpe`;
/// - a norm layer is known by what it has: a `weight` with a `bias` of the same shape or running statistics beside it,
///   a `gamma` with a `beta`; or by what it is called, `norm`, `rms_norm`, `ln_1`, `bn2`, `gn`: then every vector of it
///   is the norm's, under whatever name. Its scale and its shift are [`Role::Norm`];
/// - every other vector is a [`Role::Bias`] (the γ of a LayerScale, which has no β, the weight of a PReLU, which has no
///   bias), but for a `weight` with a `bias` of another length: that is a matrix of one row, a [`Role::Weight`];
/// - what is left has two or more dimensions: a [`Role::Weight`].
///
/// Where it is wrong about a model, [`Params::with_roles`](crate::Params::with_roles) takes roles as they are given;
/// `println!("{params}")` prints those that were found.
pub fn role_by_name(name: &str, all: &BTreeMap<String, Var>) -> Option<Role> {
    let (path, last) = name.rsplit_once('.').map_or(("", name), |(path, last)| (path, last));
    let (var, layer) = (&all[name], path.rsplit('.').next().unwrap_or(path));
    let beside = |sibling: &str| {
        let sibling = if path.is_empty() { sibling.to_owned() } else { format!("{path}.{sibling}") };
        all.get(&sibling)
    };
    let same_shape = |sibling: &str| beside(sibling).is_some_and(|other| other.dims() == var.dims());
    let has_statistics = beside("running_mean").or(beside("running_var")).is_some();
    let wide = var.dims().iter().filter(|dim| **dim > 1).count();
    let is_vector = var.rank() < 2 || (last != "weight" && wide <= 1);
    match last {
        "running_mean" | "running_var" | "num_batches_tracked" => None,
        _ if !var.dtype().is_float() => None,
        _ if is_token(last) || (last == "weight" && (is_embedding(layer) || layer == "wpe")) => Some(Role::Bias),
        _ if is_vector && (has_statistics || is_called_a_norm(layer)) => Some(Role::Norm),
        "weight" if same_shape("bias") => Some(Role::Norm),
        "bias" if same_shape("weight") => Some(Role::Norm),
        "gamma" if same_shape("beta") => Some(Role::Norm),
        "beta" if same_shape("gamma") => Some(Role::Norm),
        "weight" if is_vector && beside("bias").is_some() => Some(Role::Weight),
        _ if is_vector => Some(Role::Bias),
        _ => Some(Role::Weight),
    }
}

fn is_token(last: &str) -> bool {
    let ends = |end: &str| last.strip_suffix(end).is_some_and(|rest| rest.is_empty() || rest.ends_with('_'));
    ends("token") || ends("tokens") || is_embedding(last)
}

fn is_embedding(part: &str) -> bool {
    let known = [
        "pos_emb",
        "position_embedding",
        "positional_embedding",
        "class_embedding",
        "rel_pos",
        "relative_position_bias",
        "relative_attention_bias",
        "attention_biases",
    ];
    known.iter().any(|embedding| part.contains(embedding))
}

/// `norm`, `norm1`, `rms_norm`, `LayerNorm_0`, `bn2`, `ln_1`, `ln_pre`, `gn`.
fn is_called_a_norm(layer: &str) -> bool {
    let layer = layer.to_lowercase();
    let short = |part: &str| ["bn", "ln", "gn"].contains(&part.trim_end_matches(|c: char| c.is_ascii_digit()));
    layer.contains("norm") || layer.split('_').any(short)
}

#[cfg(test)]
mod tests {
    use super::*;
    use candle_core::{DType, Device};

    #[test]
    fn a_role_follows_from_what_is_beside_a_parameter() {
        let shapes: [(&str, &[usize], Option<Role>); 45] = [
            ("bn1.weight", &[4], Some(Role::Norm)),
            ("bn1.running_var", &[4], None),
            ("norm.weight", &[4], Some(Role::Norm)),
            ("norm.bias", &[4], Some(Role::Norm)),
            ("anything.weight", &[4], Some(Role::Norm)),
            ("anything.bias", &[4], Some(Role::Norm)),
            ("keras.gamma", &[4], Some(Role::Norm)),
            ("keras.beta", &[4], Some(Role::Norm)),
            ("block.rms_norm.weight", &[4], Some(Role::Norm)),
            ("block.ln_1.weight", &[4], Some(Role::Norm)),
            ("blocks.0.ls1.gamma", &[4], Some(Role::Bias)),
            ("act.weight", &[1], Some(Role::Bias)),
            ("prelu.weight", &[4], Some(Role::Bias)),
            ("fc.weight", &[3, 4], Some(Role::Weight)),
            ("fc.bias", &[3], Some(Role::Bias)),
            ("cls_token", &[1, 1, 4], Some(Role::Bias)),
            ("reg_token", &[1, 4, 4], Some(Role::Bias)),
            ("vit.dist_token", &[1, 1, 4], Some(Role::Bias)),
            ("register_tokens", &[1, 4, 4], Some(Role::Bias)),
            ("class_token", &[1, 1, 4], Some(Role::Bias)),
            ("encoder.pos_embedding", &[1, 5, 4], Some(Role::Bias)),
            ("embeddings.position_embedding.weight", &[5, 4], Some(Role::Bias)),
            ("attn.relative_position_bias_table", &[9, 2], Some(Role::Bias)),
            ("token_embedding.weight", &[9, 4], Some(Role::Weight)),
            ("relative_position_index", &[4], None),
            ("scale", &[1], Some(Role::Bias)),
            ("features.1.layer_scale", &[4, 1, 1], Some(Role::Bias)),
            ("stages.ln.weight", &[4, 3, 3], Some(Role::Norm)),
            ("stages.ln.bias", &[4, 3, 3], Some(Role::Norm)),
            ("grn.gamma", &[1, 1, 1, 4], Some(Role::Norm)),
            ("grn.beta", &[1, 1, 1, 4], Some(Role::Norm)),
            ("block.norm1.alpha", &[1, 1, 4], Some(Role::Norm)),
            ("attn.logit_scale", &[4, 1, 1], Some(Role::Bias)),
            ("positional_embedding", &[5, 4], Some(Role::Bias)),
            ("transformer.wpe.weight", &[5, 4], Some(Role::Bias)),
            ("attn.attention_biases", &[3, 9], Some(Role::Bias)),
            ("attn.rel_pos_h", &[9, 4], Some(Role::Bias)),
            ("conv.gain", &[4, 1, 1, 1], Some(Role::Bias)),
            ("logreg.weight", &[10], Some(Role::Weight)),
            ("logreg.bias", &[1], Some(Role::Bias)),
            ("block.norm.scale", &[4], Some(Role::Norm)),
            ("LayerNorm_0.scale", &[4], Some(Role::Norm)),
            ("ln_pre.weight", &[4], Some(Role::Norm)),
            ("one.weight", &[1, 4], Some(Role::Weight)),
            ("one.bias", &[1], Some(Role::Bias)),
        ];
        let dtype = |name: &str| if name.ends_with("index") { DType::I64 } else { DType::F32 };
        let all: BTreeMap<String, Var> = shapes
            .iter()
            .map(|(name, shape, _)| ((*name).to_owned(), Var::zeros(*shape, dtype(name), &Device::Cpu).unwrap()))
            .collect();
        for (name, _, role) in shapes {
            assert_eq!(role_by_name(name, &all), role, "{name}");
        }
    }
}
