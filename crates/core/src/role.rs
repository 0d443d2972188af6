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

/// The rule for roles, from the names and the shapes of `all` variables:
///
/// - `running_mean`, `running_var` and `num_batches_tracked` are buffers (`None`), and so is whatever is no float;
/// - tokens and position embeddings, which are added to activations and multiply none, are [`Role::Bias`], so that they
///   are free of weight decay where biases are: a last part that is or ends in `token` or `tokens` (`cls_token`,
///   `reg_token`, `mask_token`, `class_token`), or has `pos_embed`, `position_embedding`, `class_embedding` or
///   `relative_position_bias` in it (`pos_embedding`, `position_embeddings.weight`);
/// - two or more dimensions make a [`Role::Weight`] of everything else;
/// - a norm layer is known by what it has: a vector `weight` with a vector `bias` or running statistics beside it, a
///   vector `gamma` with a `beta`; or by what it is called, where it has a scale alone: `norm`, `rms_norm`, `ln_1`,
///   `bn2`, `gn`. Its scale and its shift are [`Role::Norm`];
/// - every other vector is a [`Role::Bias`]: the γ of a LayerScale, which has no β, the weight of a PReLU, which has no
///   bias.
///
/// Where it is wrong about a model, [`Params::with_roles`](crate::Params::with_roles) takes roles as they are given;
/// `println!("{params}")` prints those that were found.
pub fn role_by_name(name: &str, all: &BTreeMap<String, Var>) -> Option<Role> {
    let (path, last) = name.rsplit_once('.').map_or(("", name), |(path, last)| (path, last));
    let (var, layer) = (&all[name], path.rsplit('.').next().unwrap_or(path));
    let beside = |sibling: &str| {
        let sibling = if path.is_empty() { sibling.to_owned() } else { format!("{path}.{sibling}") };
        all.get(&sibling).is_some_and(|v| v.rank() == 1)
    };
    let is_norm = beside("running_mean") || beside("running_var") || is_called_a_norm(layer);
    match last {
        "running_mean" | "running_var" | "num_batches_tracked" => None,
        _ if !var.dtype().is_float() => None,
        _ if is_token(last) || (last == "weight" && is_embedding(layer)) => Some(Role::Bias),
        _ if var.rank() >= 2 => Some(Role::Weight),
        "weight" if is_norm || beside("bias") => Some(Role::Norm),
        "bias" if beside("weight") => Some(Role::Norm),
        "gamma" if is_norm || beside("beta") => Some(Role::Norm),
        "beta" if beside("gamma") => Some(Role::Norm),
        _ => Some(Role::Bias),
    }
}

fn is_token(last: &str) -> bool {
    ["token", "tokens"]
        .iter()
        .any(|end| last.strip_suffix(end).is_some_and(|rest| rest.is_empty() || rest.ends_with('_')))
        || is_embedding(last)
}

fn is_embedding(part: &str) -> bool {
    let known = ["pos_embed", "position_embedding", "class_embedding", "relative_position_bias"];
    known.iter().any(|embedding| part.contains(embedding))
}

/// `norm`, `norm1`, `rms_norm`, `LayerNorm`, `bn2`, `ln_1`, `gn`.
fn is_called_a_norm(layer: &str) -> bool {
    let layer = layer.to_lowercase();
    let short = layer.trim_end_matches(|c: char| c.is_ascii_digit() || c == '_');
    layer.contains("norm") || ["bn", "ln", "gn"].contains(&short)
}

#[cfg(test)]
mod tests {
    use super::*;
    use candle_core::{DType, Device};

    #[test]
    fn a_role_follows_from_what_is_beside_a_parameter() {
        let shapes: [(&str, &[usize], Option<Role>); 26] = [
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
