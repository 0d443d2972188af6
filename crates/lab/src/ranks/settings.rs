//! What of a configuration has a meaning on several ranks.

use crate::config::{DeviceName, EstimatorName, RunConfig, typed};
use anyhow::{Result, bail, ensure};
use msharp_core::Share;
use msharp_models::Norm;

/// # Errors
/// Names the flag that has no meaning on `size` ranks, or leaves one without samples, of `samples` in the training set.
pub fn check(config: &RunConfig, samples: usize, size: usize) -> Result<()> {
    let batch = config.optimisation.batch_size;
    for (flag, is_given) in [
        ("noise-every", config.measuring.noise_every > 0),
        ("shuffle-weights", config.weighting.shuffle_weights),
        ("estimator random", config.weighting.estimator == EstimatorName::Random),
        ("adapt-delta", config.weighting.adapt_delta),
        ("after-random-labels", config.start.after_random_labels.is_some()),
    ] {
        ensure!(
            !is_given,
            "--{flag} is for one process, and there are {size} ranks; expected another flag, or one rank"
        );
    }
    ensure!(
        config.perturbation.rule.name() != "sampa" || size.is_multiple_of(2),
        "--rule sampa computes its two gradients on two halves of the ranks, and there are {size}; expected an even number"
    );
    let last = Share { rank: size - 1, of: size };
    let smallest = match samples % batch {
        0 => batch,
        rest => rest.min(batch),
    };
    ensure!(
        !last.range(batch).is_empty() && !last.range(smallest).is_empty(),
        "{samples} images in batches of --batch-size {batch} end with a batch of {smallest}, of which each of {size} ranks \
         must have a sample; expected another --batch-size, --subset or number of ranks"
    );
    let own = batch.div_ceil(size);
    if let Some(m) = config.perturbation.micro_batch {
        ensure!(
            own.is_multiple_of(m),
            "--micro-batch is {m}, and each of {size} ranks has {own} samples of a batch; expected a number that divides \
             {own}, or none for a perturbation of the whole batch"
        );
    }
    Ok(())
}

/// What `config` is where each of `size` ranks perturbs on its own samples: m-SAM with as many.
///
/// # Errors
/// If there is one process, or m is given, or the rule does not perturb.
pub fn with_local_perturbation(config: RunConfig, size: usize) -> Result<RunConfig> {
    ensure!(size > 1, "--local-perturbation is about several ranks, and this is one process; expected --micro-batch");
    ensure!(
        config.perturbation.micro_batch.is_none(),
        "--local-perturbation sets --micro-batch to the samples of a rank; expected one of them"
    );
    let own = config.optimisation.batch_size.div_ceil(size);
    Ok(config.with(|c| c.perturbation.micro_batch = Some(own)))
}

/// # Errors
/// If `--sync-batch-norm` has no effect on `config` and `size` ranks, or does not hold for its estimator of norms.
pub fn check_sync_batch_norm(config: &RunConfig, size: usize) -> Result<()> {
    ensure!(
        size > 1,
        "--sync-batch-norm is about several ranks, and this is one process; expected none, or torchrun, mpirun or srun"
    );
    let (model, norm) = (config.model.architecture, config.model.norm);
    ensure!(
        model.has_choice_of_norm() && norm == Norm::Batch,
        "--sync-batch-norm is about batch normalisation, and {} has none; expected none, or --norm batch",
        config.network_label()
    );
    if let Some(m) = config.perturbation.micro_batch {
        bail!(
            "--sync-batch-norm has no effect with --micro-batch {m}, which normalises each micro-batch by itself on any \
             number of ranks; expected one of them"
        )
    }
    if let Some(most) = config.optimisation.accumulate {
        bail!(
            "--sync-batch-norm takes the samples of a rank in one piece, and --accumulate is {most}; expected one of them"
        )
    }
    ensure!(
        config.perturbation.rule.name() != "sampa",
        "--sync-batch-norm has no meaning with --rule sampa, whose halves of the ranks have other samples; expected one \
         of them"
    );
    ensure!(
        config.machine.device == DeviceName::Cpu,
        "--sync-batch-norm computes its statistics on the CPU, and --device is {}; expected --norm group, or --device cpu",
        typed(config.machine.device)
    );
    let estimator = config.weighting.estimator;
    ensure!(
        estimator == EstimatorName::FiniteDifference,
        "--sync-batch-norm is not for --estimator {}, which takes the gradients of single samples; expected \
         finite-difference",
        typed(estimator)
    );
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::tests::parse;

    #[test]
    fn what_has_no_meaning_on_ranks_is_named() {
        for (flags, samples, size, part) in [
            ("--rule sampa", 512, 3, "--rule sampa"),
            ("--noise-every 2", 512, 2, "--noise-every"),
            ("--rule rw-sam --adapt-delta", 512, 2, "--adapt-delta"),
            ("--batch-size 9", 90, 4, "--batch-size 9"),
            ("--batch-size 8", 18, 4, "a batch of 2"),
            ("--batch-size 64 --micro-batch 24", 640, 2, "--micro-batch is 24"),
            ("--batch-size 64 --micro-batch 64", 640, 2, "has 32 samples"),
        ] {
            let message = check(&parse(flags), samples, size).unwrap_err().to_string();
            assert!(message.contains(part) && message.contains("expected"), "{flags}: {message}");
        }
        check(&parse("--batch-size 64 --micro-batch 16"), 640, 4).unwrap();
        check(&parse("--batch-size 64 --device cuda"), 640, 4).unwrap();
        let local = with_local_perturbation(parse("--batch-size 64"), 4).unwrap();
        assert_eq!(local, parse("--batch-size 64 --micro-batch 16"));
        assert!(with_local_perturbation(parse(""), 1).is_err());
        assert!(with_local_perturbation(parse("--micro-batch 8"), 2).is_err());
    }

    #[test]
    fn batch_statistics_of_all_ranks_are_refused_where_they_do_not_hold() {
        for (flags, size, part) in [
            ("", 1, "this is one process"),
            ("--norm group", 2, "has none"),
            ("--model vit-mini", 2, "has none"),
            ("--micro-batch 8", 2, "--micro-batch 8"),
            ("--accumulate 8", 2, "--accumulate is 8"),
            ("--rule rw-sam --estimator ghost", 2, "--estimator ghost"),
            ("--rule sampa", 2, "--rule sampa"),
            ("--device cuda", 2, "--device is cuda"),
        ] {
            let message = check_sync_batch_norm(&parse(flags), size).unwrap_err().to_string();
            assert!(message.contains(part) && message.contains("expected"), "{flags}: {message}");
        }
        for flags in ["", "--rule rw-sam", "--rule esam"] {
            check_sync_batch_norm(&parse(flags), 2).unwrap();
        }
    }
}
