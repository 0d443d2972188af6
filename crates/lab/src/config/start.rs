//! Where a run starts: at its seed's initial weights, or at a poor minimum that another run, derived from it, has
//! reached.

use anyhow::{Result, ensure};
use clap::Args;
use serde::{Deserialize, Serialize};

/// The learning rate that fits random labels, unless another is given.
pub const START_LR: f64 = 0.05;

/// What a run is preceded by. Each phase is a run with a configuration and a folder of its own: in the run's folder
/// where that is --out, and else beside it, where all runs share it that differ in their rule only.
#[derive(Args, Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[command(next_help_heading = "Start")]
pub struct Start {
    /// Start where the same network has fitted uniformly random labels of the same images for so many epochs: SGD
    /// without augmentation or weight decay, a cosine from --start-lr
    #[arg(long, hide_short_help = true, value_name = "N")]
    pub after_random_labels: Option<usize>,
    /// And has then fitted the true labels for so many epochs: SGD without augmentation, at a constant --lr. The first
    /// half of a protocol that asks which rule leaves a poor minimum
    #[arg(long, hide_short_help = true, value_name = "N")]
    pub after_true_labels: Option<usize>,
    /// The learning rate on random labels [default: 0.05]
    #[arg(long, hide_short_help = true, allow_hyphen_values = true, value_name = "NUMBER")]
    pub start_lr: Option<f64>,
}

impl Start {
    /// Whether every number makes sense and every flag has an effect; an error names the flag.
    pub fn validate(&self, label_noise: f64) -> Result<()> {
        let Start { after_random_labels, after_true_labels, start_lr } = *self;
        for (flag, epochs) in [("after-random-labels", after_random_labels), ("after-true-labels", after_true_labels)] {
            ensure!(epochs != Some(0), "--{flag} is 0; expected at least 1 epoch, or no such flag");
        }
        for (flag, is_given) in [("after-true-labels", after_true_labels.is_some()), ("start-lr", start_lr.is_some())] {
            ensure!(
                !is_given || after_random_labels.is_some(),
                "--{flag} is about what follows random labels; expected --after-random-labels with it"
            );
        }
        ensure!(
            start_lr.is_none_or(|lr| lr > 0. && lr.is_finite()),
            "--start-lr is {start_lr:?}; expected a finite number above 0"
        );
        ensure!(
            after_random_labels.is_none() || label_noise == 0.,
            "--label-noise would be a part of the random labels, which are drawn from the same seed; expected none \
             with --after-random-labels"
        );
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use crate::config::tests::parse;

    #[test]
    fn what_makes_no_sense_is_named() {
        for (flags, flag) in [
            ("--after-random-labels 0", "--after-random-labels"),
            ("--after-true-labels 3", "--after-true-labels"),
            ("--start-lr 0.1", "--start-lr"),
            ("--after-random-labels 3 --start-lr 0", "--start-lr"),
            ("--after-random-labels 3 --label-noise 0.2", "--label-noise"),
        ] {
            let message = parse(flags).validate().unwrap_err().to_string();
            assert!(message.contains(flag) && message.contains("expected"), "{flags}: {message}");
        }
    }
}
