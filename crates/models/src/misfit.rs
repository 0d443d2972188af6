//! Why published weights may not fit a network: guesses from the names that are missing and unexpected.

use msharp_core::Fit;

/// Where a name is looked for.
enum Side {
    /// Only the network has it.
    Missing,
    /// Only the file has it.
    Unexpected,
}

use Side::{Missing, Unexpected};

/// Part of a name that one side alone has, and what that suggests.
const SIGNS: [(Side, &str, &str); 9] = [
    (Missing, ".downsample.", "no downsample.*: option-A shortcuts, as those of resnet20a?"),
    (Unexpected, ".downsample.", "downsample.*: projections, as those of resnet20?"),
    (Missing, ".ls1.gamma", "no ls1.gamma: weights without LayerScale, as vit_small_patch16_224's?"),
    (Unexpected, ".ls1.gamma", "ls1.gamma: LayerScale, as in vit_small_patch14_dinov2?"),
    (Missing, ".running_mean", "no running_mean: group normalisation?"),
    (Unexpected, ".running_mean", "running_mean: batch normalisation?"),
    (Unexpected, "reg_token", "reg_token: register tokens, which no network here has"),
    (Unexpected, "fc_norm.", "fc_norm: a classifier of the mean of the tokens, which no network here has"),
    (Unexpected, "dist_token", "dist_token: a distilled network, which no network here is"),
];

/// What may be the reason of a misfit.
pub(crate) fn hints(fit: &Fit) -> Vec<String> {
    let mut hints = Vec::new();
    for (side, part, hint) in SIGNS {
        let (names, others) = match side {
            Missing => (&fit.missing, &fit.unexpected),
            Unexpected => (&fit.unexpected, &fit.missing),
        };
        let has =
            |mut names: std::collections::btree_map::Keys<String, Vec<usize>>| names.any(|name| name.contains(part));
        // What both sides have is no sign of either.
        let of_both = has(others.keys()) || fit.loaded.iter().any(|name| name.contains(part));
        if has(names.keys()) && !of_both {
            hints.push(hint.to_owned());
        }
    }
    if let Some([file, own]) = fit.reshaped.get("conv1.weight") {
        let stem = |shape: &[usize]| if shape.ends_with(&[7, 7]) { "for ImageNet" } else { "for small images" };
        if stem(file) != stem(own) {
            hints.push(format!(
                "conv1.weight: the stem {}, and the network's is that {}; resnet50-imagenet and resnet50 differ in it",
                stem(file),
                stem(own)
            ));
        }
    }
    hints
}
