//! `reproduce imagenet`.

mod page;
mod runs;

use super::{Experiment, Given, Preset};
use crate::config::RunConfig;
use crate::page::Page;
use crate::run::outcome::RunRow;
use anyhow::{Context, Result};

/// Test accuracy of SGD, SAM, m-SAM and RW-SAM on a folder of pictures: the paper's Table 2 (a), where it is ImageNet.
pub struct ImageNet;

impl Experiment for ImageNet {
    type Job = RunConfig;

    fn name(&self) -> &'static str {
        "imagenet"
    }

    fn question(&self) -> &'static str {
        "The paper's Table 2 (a): the rules on ImageNet, or on pictures of yours"
    }

    fn takes(&self) -> &'static [&'static str] {
        &["data"]
    }

    fn jobs(&self, preset: Preset, given: &Given) -> Result<Vec<RunConfig>> {
        let data = given.data.clone().context(
            "imagenet is on pictures of yours; expected --data folder:PATH with PATH/train/CLASS/ and PATH/val/CLASS/",
        )?;
        runs::configs(preset, &data)
    }

    fn about(&self, preset: Preset, _: &[RunConfig]) -> String {
        runs::about(preset).to_owned()
    }

    fn page(&self, rows: &[RunRow]) -> Result<Page> {
        page::page(rows)
    }
}
