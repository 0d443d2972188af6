//! Images as seeded, augmented, prefetched and skippable streams of batches.
//!
//! A [`Dataset`] is bytes and labels, in memory once. A [`Loader`] cuts it into the batches of an epoch: it shuffles,
//! augments ([`Augment`]), normalises, and prepares the next batches on a background thread while the current one
//! trains. It keeps no state. What an epoch holds is a pure function of (seed, epoch), what a sample looks like of
//! (seed, epoch, index of the sample), and a batch's key of (seed, epoch, step); so a run that resumes at step k asks
//! for `epoch_from(epoch, k)` and sees what the uninterrupted run saw, and nothing before step k is prepared.
//!
//! ```
//! use msharp_core::DataSource;
//! use msharp_data::{Loader, synthetic};
//! use std::sync::Arc;
//!
//! # fn main() -> candle_core::Result<()> {
//! let split = synthetic(200, 50, 0);                                       // 200 for training, 50 for testing
//! let few = split.train.subset(100, 1)?.with_label_noise(0.2, 1)?;       // 10 of each class, 20 labels wrong
//! let train = Loader::train(Arc::new(few), 32, 7);
//! let test = Loader::eval(Arc::new(split.test), 32);
//!
//! assert_eq!((train.steps(), test.samples()), (4, 50));
//! for batch in train.epoch(0) {
//!     assert_eq!(batch?.inputs.dims()[1..], [32, 32, 3]);                  // [b, h, w, c], normalised
//! }
//! let resumed = train.epoch_from(0, 3).next().transpose()?.expect("the fourth step");
//! assert_eq!(resumed.targets.dims(), [4]);                                 // the last batch holds what is left
//! # Ok(())
//! # }
//! ```
//!
//! # Where the images come from
//!
//! * [`synthetic`] draws ten classes of figures and textures. No download, the same bytes on every machine.
//! * [`cifar10`] and [`cifar100`] read the official binary files from a folder. A [`Release`] describes those files;
//!   it reads them, checks them against a digest that does not depend on the order of the images
//!   ([`Release::verify`], [`verify`]), and with the feature `hub` downloads them from the Hugging Face hub (`fetch`).
//!
//! Anything else is a [`Dataset`] literal away.

mod augment;
mod cifar;
mod dataset;
mod draw;
#[cfg(feature = "hub")]
mod fetch;
mod figure;
mod loader;
mod memory;
mod prefetch;
mod records;
mod release;
mod synthetic;

pub use augment::Augment;
pub use cifar::{cifar10, cifar100, verify};
pub use dataset::{Dataset, Split};
#[cfg(feature = "hub")]
pub use fetch::fetch;
pub use loader::Loader;
pub use memory::Memory;
pub use release::{Label, Part, Release};
pub use synthetic::synthetic;
