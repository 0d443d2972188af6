//! Labelled images as seeded, augmented and prefetched batches for training with candle.
//!
//! Use this crate to train on CIFAR, on a synthetic set that needs no download, or on images of your own, where runs
//! must be reproducible to the bit. A [`Dataset`] holds bytes and labels. A [`Loader`] shuffles it, augments it
//! ([`Augment`]), normalises it and cuts it into the [`Batch`]es of an epoch; it implements [`DataSource`], which the
//! trainer of `msharp-train` takes.
//!
//! ```
//! use msharp_core::DataSource;
//! use msharp_data::{Loader, synthetic};
//! use std::sync::Arc;
//!
//! # fn main() -> candle_core::Result<()> {
//! let split = synthetic(200, 50, 0);                                     // 200 for training, 50 for testing
//! let few = split.train.subset(100, 1)?.with_label_noise(0.2, 1)?;       // 10 of each class, 20 labels wrong
//! let train = Loader::train(Arc::new(few), 32, 7);
//! let test = Loader::eval(Arc::new(split.test), 32);
//!
//! assert_eq!((train.steps(), test.samples()), (4, 50));
//! for batch in train.epoch(0) {
//!     assert_eq!(batch?.inputs.dims()[1..], [32, 32, 3]);                // [b, h, w, c], normalised
//! }
//! let resumed = train.epoch_from(0, 3).next().transpose()?.expect("the fourth step");
//! assert_eq!(resumed.targets.dims(), [4]);                               // the last batch has the remaining 4 samples
//! # Ok(())
//! # }
//! ```
//!
//! # Where the images come from
//!
//! * [`synthetic`] draws ten classes of figures and textures: no download, the same bytes on every machine;
//!   [`thumbnails`] draws them small and simple.
//! * [`cifar10`] and [`cifar100`] read the official binary files from a folder. A [`Release`] describes those files; it
//!   reads them, verifies them against a digest that does not depend on the order of the images ([`Release::verify`],
//!   [`verify`]), and with the feature `hub` downloads them from the Hugging Face hub (`fetch`).
//! * Images of your own that fit into memory and have one size are a [`Dataset`] literal.
//! * Pictures on the disk, of any size and number, are [`Images`]: an [`ImageFolder`] in the manner of torchvision,
//!   [`TarShards`] in that of webdataset, or, with the feature `parquet`, `ParquetImages` in that of the Hugging Face
//!   hub. [`find_broken`] decodes all of them. A [`Picture`] is decoded as Pillow decodes it.
//!
//! # Pictures of any size
//!
//! [`Images`] are read one at a time and may stay on disk. An [`ImageLoader`] reads them on worker threads, in order,
//! and gives each the [`Transform`] of a published recipe: torchvision's crops, [`ColorJitter`], [`RandAugment`] and
//! [`RandomErasing`], with the bits of torchvision on Pillow's images where a definition leaves no choice.
//!
//! ```
//! use msharp_core::DataSource;
//! use msharp_data::{ImageLoader, Transform, synthetic};
//! use std::sync::Arc;
//!
//! # fn main() -> candle_core::Result<()> {
//! let images = Arc::new(synthetic(64, 10, 0).train);                     // or a folder: anything that is `Images`
//! let train = ImageLoader::train(images, Transform::imagenet_train(48), 16, 7);
//! for batch in train.epoch(0) {
//!     assert_eq!(batch?.inputs.dims(), [16, 48, 48, 3]);
//! }
//! # Ok(())
//! # }
//! ```
//!
//! [`Mixed`] mixes the samples of a source's batches in pairs: Mixup and CutMix.
//!
//! # Invariants
//!
//! * A loader has no state, and uses no global random generator. The order of an epoch is a pure function of (seed,
//!   epoch), the augmentation of a sample of (seed, epoch, index of the sample), the [`Key`] of a batch of (seed,
//!   epoch, step). A run that resumes at step k calls `epoch_from(epoch, k)` and receives the batches of the
//!   uninterrupted run.
//! * Batches are the same to the bit for any number of prefetched batches or workers, and on any [`Placement`].
//! * Reading picture i is a pure function of i, from any number of threads. The order of an epoch of shards is a pure
//!   function of (seed, epoch) too, and visits few shards at a time.
//! * No content of a file makes this crate panic, or read more than the file has.
//! * Only verified content is written to disk, and a file is complete when it appears under its name.
//!
//! # Errors
//!
//! Functions return candle's [`Result`](candle_core::Result). [`Error::of`] finds the cause in it as a value to match
//! on: a missing file, a wrong length or digest, an unknown label, a broken picture, a folder of another layout, a
//! wrong argument, a failed download.
//!
//! ```
//! use msharp_data::{Error, cifar10};
//!
//! let error = cifar10("/no/such/folder").unwrap_err();
//! assert!(matches!(Error::of(&error), Some(Error::MissingFile { .. })));
//! assert!(error.to_string().contains("data_batch_1.bin is missing"));
//! ```
//!
//! # Features
//!
//! `hub`: `fetch`, with an HTTP client and a Parquet reader. `parquet`: `ParquetImages`. `cuda`: batches that a GPU
//! makes of images in its memory.
//!
//! [`Batch`]: msharp_core::Batch
//! [`DataSource`]: msharp_core::DataSource
//! [`Key`]: msharp_core::Key

mod augment;
mod cifar;
mod columns;
mod dataset;
mod decode;
mod draw;
mod error;
#[cfg(feature = "hub")]
mod fetch;
mod figure;
mod folder;
mod image_loader;
mod images;
mod in_order;
mod index;
mod labels;
mod loader;
mod mixing;
mod names;
mod panicked;
#[cfg(feature = "parquet")]
mod parquet_images;
mod picture;
mod placement;
mod prefetch;
mod records;
mod release;
mod resize;
mod selection;
mod shards;
mod synthetic;
mod thumbnails;
mod transform;

pub use augment::Augment;
pub use cifar::{cifar10, cifar100, verify};
pub use columns::Columns;
pub use dataset::{Dataset, Split};
pub use error::Error;
#[cfg(feature = "hub")]
pub use fetch::fetch;
pub use folder::{EmptyClasses, Found, ImageFolder};
pub use image_loader::{BrokenPictures, ImageLoader};
pub use images::{Images, find_broken};
pub use loader::Loader;
pub use mixing::{Mixed, Mixing};
#[cfg(feature = "parquet")]
pub use parquet_images::ParquetImages;
pub use picture::Picture;
pub use placement::Placement;
pub use release::{Label, Release, ReleasePart};
pub use resize::Interpolation;
pub use selection::Selection;
pub use shards::TarShards;
pub use synthetic::synthetic;
pub use thumbnails::thumbnails;
pub use transform::{ColorJitter, Crop, PictureOp, RandAugment, RandomErasing, Transform};
