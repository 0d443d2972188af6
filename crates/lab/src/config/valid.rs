//! Whether every number of a configuration makes sense; a message names the flag and what was expected.

use super::{DeviceName, EstimatorName, OptimizerName, PrecisionName, RunConfig, typed};
use anyhow::{Result, ensure};
use msharp_core::Range;
use msharp_gradnorm::FiniteDifference;
use msharp_models::Norm;
use msharp_perturb::catalogue::{Needs, Value};

impl RunConfig {
    /// Whether every number makes sense; an error names the flag and says what was expected.
    pub fn validate(&self) -> Result<()> {
        let within = |flag: &str, value: f64, range: Range| {
            ensure!(range.holds(value), "--{flag} is {value}; expected {range}");
            Ok(())
        };
        let (model, norm) = (self.model.architecture, self.model.norm);
        ensure!(
            model.has_choice_of_norm() || norm == Norm::default(),
            "--norm is {norm}, but {model} has layer normalisation; expected no --norm"
        );
        if let Some(side) = model.image_size() {
            let own = self.side();
            ensure!(
                side == own,
                "--model {model} takes images of {side}×{side}, and those of --data are {own}×{own}; expected \
                 --image-size {side}, or a network for any size, as resnet8"
            );
        }
        within("label-noise", self.data.label_noise, Range::SHARE)?;
        if let Some(lambda) = self.effective_size() {
            let samples = self.perturbation.micro_batch.unwrap_or(self.optimisation.batch_size);
            ensure!(
                lambda < samples as f64,
                "--rule {}: lambda is {lambda}; expected an effective size below the {samples} samples that are reweighted",
                self.perturbation.rule
            );
        }
        if let Some(delta) = self.weighting.delta {
            within("delta", delta, FiniteDifference::DELTA)?;
        }
        within("lr", self.optimisation.lr, Range::ABOVE_0)?;
        within("warm-up", self.optimisation.warm_up, Range::BELOW_1)?;
        within("momentum", self.optimisation.momentum, Range::BELOW_1)?;
        within("weight-decay", self.optimisation.weight_decay, Range::AT_LEAST_0)?;
        within("label-smoothing", self.optimisation.label_smoothing, Range::BELOW_1)?;
        for (flag, value) in [
            ("probes", self.weighting.probes),
            ("epochs", self.optimisation.epochs),
            ("evaluate-every", self.measuring.evaluate_every),
            ("batch-size", self.optimisation.batch_size),
        ] {
            ensure!(value > 0 && value <= 10_000_000, "--{flag} is {value}; expected at least 1, at most 10000000");
        }
        for (flag, value) in
            [("subset", self.data.subset), ("test-subset", self.data.test_subset), ("validation", self.data.validation)]
        {
            ensure!(value != Some(0), "--{flag} is 0; expected at least 1 image");
        }
        ensure!(
            self.machine.device == DeviceName::Cuda || self.machine.precision == PrecisionName::F32,
            "--precision on the CPU is f32; expected --device cuda for another"
        );
        self.perturbation.changes.validate(&self.perturbation.rule, self.optimisation.weight_decay)?;
        self.start.validate(self.data.label_noise)?;
        self.check_images()?;
        ensure!(
            self.model.init_weights.is_none() || self.start.after_random_labels.is_none(),
            "--after-random-labels starts at weights of its own; expected no --init-weights with it"
        );
        ensure!(self.optimisation.accumulate != Some(0), "--accumulate is 0; expected at least 1 sample");
        ensure!(
            self.optimisation.optimizer == OptimizerName::Sgd || !self.optimisation.nesterov,
            "--nesterov is a form of momentum, which --optimizer adamw does not have; expected one of them"
        );
        if let Some(samples) = self.measuring.noise_samples {
            let batch = self.optimisation.batch_size;
            ensure!(
                (2..=batch).contains(&samples),
                "--noise-samples is {samples}; expected from 2, without which there is no variance, to --batch-size \
                 ({batch})"
            );
        }
        ensure!(
            ![EstimatorName::LastLayer, EstimatorName::NormLayers, EstimatorName::Random]
                .contains(&self.measuring.noise_estimator),
            "--noise-estimator is {}, whose norms are not those of whole gradients; expected exact, ghost or \
             finite-difference",
            typed(self.measuring.noise_estimator)
        );
        ensure!(
            self.weighting.estimator != EstimatorName::Random || !self.weighting.shuffle_weights,
            "--shuffle-weights has no effect on random weights; expected another --estimator than random"
        );
        ensure!(
            self.weighting.estimator != EstimatorName::Random || self.is_reweighted(),
            "--estimator random is for rules that weigh the samples of a batch; expected --rule rw-sam, rw-usam or delta-sam"
        );
        if let Some(m) = self.perturbation.micro_batch {
            let batch = self.optimisation.batch_size;
            ensure!(m > 0, "--micro-batch, m, is 0; expected a number of samples from 1 to --batch-size ({batch})");
            ensure!(m <= batch, "--micro-batch, m, is {m}, more than --batch-size {batch}; expected at most {batch}");
        }
        self.check_effects()
    }

    /// Whether the rule weighs the samples of a batch.
    pub fn is_reweighted(&self) -> bool {
        self.perturbation.rule.entry().needs == Needs::Estimator
    }

    /// The m_eff that the rule aims at, if it does.
    pub fn effective_size(&self) -> Option<f64> {
        let unit =
            self.perturbation.rule.has("temperature").then(|| self.perturbation.rule.values().value("temperature"));
        (unit == Some(Value::Name("effective-size"))).then(|| self.perturbation.rule.number("lambda"))
    }
}
