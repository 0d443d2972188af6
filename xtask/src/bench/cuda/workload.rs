//! What a GPU is timed on: a network, its images and its batch, by name.

use crate::bench::subject::{Images, SMALL, Subject, configured};
use anyhow::{Error, Result, bail};
use candle_core::DType;
use msharp_core::Seeded;
use msharp_lab::build;
use msharp_lab::config::device::{DeviceName, PrecisionName};
use msharp_models::{Architecture, Model, Norm, RESNET8, RESNET18, RESNET20, RESNET34, RESNET50, ResNetConfig, Stem};
use std::fmt::{Display, Formatter};
use std::str::FromStr;

/// `resnet18-128` is a network for 32×32 images of 10 classes and its batch; `resnet50@224-256` has ImageNet's stem and
/// sees 224×224 images of 1000 classes.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Workload {
    pub model: Architecture,
    /// The side of an image under ImageNet's stem.
    pub side: Option<usize>,
    pub batch: usize,
}

/// What is timed where nothing else is asked for.
pub const STANDARD: &str = "resnet18-128,resnet18-512,wrn-28-10-128,resnet50@224-256";

impl Workload {
    /// What the network sees.
    pub fn images(&self) -> Images {
        self.side.map_or(SMALL, |side| Images { side, classes: 1000 })
    }

    /// Weights and noise on a device.
    pub fn subject(&self, device: DeviceName, precision: PrecisionName) -> Result<Subject> {
        let config = configured(self.model, Norm::Batch, self.batch)
            .with(|c| (c.machine.device, c.machine.precision) = (device, precision));
        let images = self.images();
        let (network, params) = match self.side {
            None => build::model(&config, images.classes)?,
            Some(_) => {
                let init = Seeded::new(config.optimisation.seed, DType::F32, &device.open()?);
                let shape = ResNetConfig { stem: Stem::ImageNet, ..shape(self.model)? };
                let network = shape.build(config.model.norm, images.classes, init.var_builder())?;
                (Model::ResNet(network), init.params()?)
            }
        };
        Subject::of(config, network, params, images)
    }

    /// Floating-point operations of a forward pass by the definition of its ops.
    ///
    /// They are counted where a forward of a single image runs on the CPU: no op's definition depends on the device,
    /// and those that count are linear in the batch.
    pub fn flop(&self) -> Result<f64> {
        let one = Workload { batch: 1, ..*self };
        Ok(self.batch as f64 * one.subject(DeviceName::Cpu, PrecisionName::F32)?.flop()?)
    }
}

/// The shape of a ResNet of the catalogue.
fn shape(model: Architecture) -> Result<ResNetConfig<'static>> {
    Ok(match model {
        Architecture::ResNet8 => RESNET8,
        Architecture::ResNet18 => RESNET18,
        Architecture::ResNet20 => RESNET20,
        Architecture::ResNet34 => RESNET34,
        Architecture::ResNet50 => RESNET50,
        _ => {
            bail!("{model} has no stem for larger images; expected a ResNet before the @")
        }
    })
}

impl Display for Workload {
    fn fmt(&self, f: &mut Formatter<'_>) -> std::fmt::Result {
        let side = self.side.map_or(String::new(), |side| format!("@{side}"));
        write!(f, "{}{side}-{}", self.model, self.batch)
    }
}

impl FromStr for Workload {
    type Err = Error;

    /// What [`Display`] writes.
    fn from_str(text: &str) -> Result<Self> {
        let number = |text: &str| text.parse().ok().filter(|n| (1..=1 << 20).contains(n));
        let parsed = || {
            let (network, batch) = text.rsplit_once('-')?;
            let (model, side) = match network.split_once('@') {
                Some((model, side)) => (model, Some(number(side)?)),
                None => (network, None),
            };
            Some(Self { model: model.parse().ok()?, side, batch: number(batch)? })
        };
        let Some(workload) = parsed() else {
            bail!("{text:?} is no workload; expected NETWORK-BATCH such as resnet18-128, or NETWORK@SIDE-BATCH")
        };
        if workload.side.is_some() {
            shape(workload.model)?;
        }
        Ok(workload)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::bench::NETWORK;

    #[test]
    fn names_are_read_as_they_are_written() {
        for name in STANDARD.split(',') {
            assert_eq!(name.parse::<Workload>().unwrap().to_string(), name);
        }
        for name in ["resnet18", "resnet18-0", "resnet19-4", "resnet18@-4", "resnet18@224", "-4", ""] {
            assert!(name.parse::<Workload>().unwrap_err().to_string().contains("resnet18-128"), "{name}");
        }
        assert!("wrn-16-4@224-8".parse::<Workload>().unwrap_err().to_string().contains("stem"));
    }

    /// torchvision says 25 557 032 parameters and 4.09 · 10⁹ multiplications for its ResNet-50.
    #[test]
    fn work_is_torchvisions_and_linear_in_the_batch() {
        let _alone = NETWORK.lock();
        let on_cpu = |name: &str| {
            let workload: Workload = name.parse().unwrap();
            (workload, workload.subject(DeviceName::Cpu, PrecisionName::F32).unwrap())
        };
        let (_, mut subject) = on_cpu("resnet50@224-1");
        assert_eq!(subject.params.count(), 25_557_032);
        let multiplications = subject.flop().unwrap() / 2.;
        assert!((multiplications / 4.09e9 - 1.).abs() < 0.01, "{multiplications:e}");

        for name in ["resnet8", "wrn-10-1", "resnet18@64"] {
            let one = on_cpu(&format!("{name}-1")).0.flop().unwrap();
            let (three, mut subject) = on_cpu(&format!("{name}-3"));
            let (scaled, counted) = (three.flop().unwrap(), subject.flop().unwrap());
            assert!(one > 0. && scaled == counted && scaled == 3. * one, "{name}: {one}, {scaled}, {counted}");
        }
    }
}
