//! Experiments with sharpness-aware rules, as a library.
//!
//! A [`RunConfig`](config::RunConfig) is the command line, the record in a row and the identity of a run.
//! [`run()`](run::run) makes a [`Row`](row::Row) of it, resumable at any step. An
//! [`Experiment`](experiments::Experiment) lists jobs and makes a [`Page`](page::Page) of their rows:
//! [`ALL`](experiments::ALL) has every one of them.
//!
//! ```no_run
//! use msharp_lab::config::RunConfig;
//! use msharp_lab::data::Datasets;
//! use msharp_lab::ranks::Ranks;
//! use msharp_lab::run::Site;
//! use std::path::Path;
//!
//! # fn main() -> anyhow::Result<()> {
//! let config = RunConfig::defaults().with(|c| c.data.subset = Some(500)).canonical();
//! let mut data = Datasets::new(Path::new("datasets"));
//! let site = Site { folder: Path::new("runs/mine"), starts: Path::new("runs"), lease: None };
//! let row = msharp_lab::run::run("a run", &config, &site, &mut data, &Ranks::alone())?;
//! println!("{:?}", row.map(|row| row.content.metrics.test_accuracy));
//! # Ok(())
//! # }
//! ```
//!
//! | module | what it is |
//! |---|---|
//! | [`config`] | everything that decides a run, in groups; what is refused, and how it is recorded |
//! | [`build`] | from a configuration to network, objective, optimizer and rule |
//! | [`run`] | one run: folder, checkpoint, log, measures, row |
//! | [`experiments`] | the experiments, one folder each |
//! | [`mod@reproduce`] | an experiment from its jobs to its page |
//! | [`ranks`] | runs of several processes |
//! | [`shared`] | the jobs of an experiment on several machines |
//! | [`weights`] | what a run starts from: a file, or one of the Hugging Face hub |
//! | [`trained`] | a network with the weights of a file |
//! | [`row`], [`series`] | results |
//! | [`statistics`] | means, paired intervals, slopes |
//! | [`plot`], [`page`] | figures, tables and pages |
//!
//! Only [`screen`] prints.

pub mod build;
mod claim;
pub mod config;
pub mod data;
pub mod experiments;
pub mod fetch;
mod hex;
pub mod host;
pub mod hub;
pub mod interrupt;
pub mod jsonl;
pub mod page;
pub mod paths;
pub mod plot;
pub mod program;
pub mod ranks;
pub mod reproduce;
pub mod resources;
pub mod row;
pub mod run;
pub mod screen;
pub mod series;
pub mod shared;
pub mod statistics;
pub mod trained;
pub mod weights;
