//! Streams of pictures that are decoded, cropped and resized as they are needed.

use super::{ByLabel, EVALUATION, Source, Streams, contents};
use crate::config::{RunConfig, Transforms};
use crate::screen;
use anyhow::{Result, bail, ensure};
#[cfg(feature = "parquet")]
use msharp_data::ParquetImages;
use msharp_data::{
    BrokenPictures, Columns, EmptyClasses, ImageFolder, ImageLoader, Images, Selection, TarShards, Transform,
};
use std::path::Path;
use std::sync::Arc;

/// Training and test pictures.
type Pair = (Arc<dyn Images>, Arc<dyn Images>);

/// `PATH/{train,val}/CLASS/`.
pub(super) fn folder(path: &Path) -> Result<Pair> {
    let (train, test) = ImageFolder::split(path, EmptyClasses::Refuse)?;
    [&train, &test].into_iter().for_each(|part| screen::say(format!("{}: {}", part.name(), part.found())));
    Ok((Arc::new(train), Arc::new(test)))
}

/// Tar shards of training and of test pictures: see [`parts`].
pub(super) fn tar(path: &Path) -> Result<Pair> {
    let [train, test] = parts(path, "tar")?;
    same_classes(
        path,
        "classes.txt, a name a line, beside the shards",
        TarShards::open(&train)?,
        TarShards::open(&test)?,
    )
}

/// Parquet files of training and of test pictures: see [`parts`].
#[cfg(feature = "parquet")]
pub(super) fn parquet(path: &Path, columns: &Columns) -> Result<Pair> {
    let [train, test] = parts(path, "parquet")?;
    let open = |place: &str| ParquetImages::open(place, columns.clone());
    same_classes(path, "the names of the classes in the files", open(&train)?, open(&test)?)
}

/// What there is without the feature.
#[cfg(not(feature = "parquet"))]
pub(super) fn parquet(path: &Path, _: &Columns) -> Result<Pair> {
    bail!(
        "--data parquet:{} needs the feature `parquet`, which this program was built without; expected \
         `cargo install --path crates/cli --features parquet`, or `cargo run --features parquet`",
        path.display()
    )
}

/// Where the shards for training and for testing are in `root`: in the folders `train` and `val`, or in files
/// `train-*` and `val-*` (or `valid`, `validation`, `test`).
fn parts(root: &Path, ending: &str) -> Result<[String; 2]> {
    let files: Vec<String> = match std::fs::read_dir(root) {
        Ok(entries) => entries.filter_map(|entry| entry.ok()?.file_name().into_string().ok()).collect(),
        Err(error) => bail!("--data {ending}:{}: cannot read the folder: {error}", root.display()),
    };
    let place = |part: &str| {
        let is_shard = |file: &&String| file.starts_with(&format!("{part}-")) && file.ends_with(&format!(".{ending}"));
        let path = match files.iter().find(|file| *file == part) {
            Some(folder) => root.join(folder),
            None => files.iter().find(is_shard).map(|_| root.join(format!("{part}-*.{ending}")))?,
        };
        Some(path.to_string_lossy().into_owned())
    };
    match (place("train"), ["val", "valid", "validation", "test"].into_iter().find_map(place)) {
        (Some(train), Some(test)) => Ok([train, test]),
        _ => bail!(
            "--data {ending}:{} has no shards for training and for testing; expected train/*.{ending} and val/*.{ending}, or \
             train-*.{ending} and val-*.{ending}",
            root.display()
        ),
    }
}

fn same_classes(root: &Path, remedy: &str, train: impl Images + 'static, test: impl Images + 'static) -> Result<Pair> {
    let (a, b) = (train.classes(), test.classes());
    let other = (0..a.min(b)).find(|class| train.class_name(*class) != test.class_name(*class));
    if let Some(class) = other {
        let (a, b) = (train.class_name(class), test.class_name(class));
        bail!("{}: class {class} is {a:?} in training and {b:?} in testing; expected the same", root.display())
    }
    ensure!(
        a == b,
        "{} has {a} classes in training and {b} in testing; expected the same, or {remedy}",
        root.display()
    );
    Ok((Arc::new(train), Arc::new(test)))
}

/// The streams of a configuration.
pub(super) fn streams(
    config: &RunConfig,
    transforms: Transforms,
    train: Arc<dyn Images>,
    test: Arc<dyn Images>,
) -> Result<Streams> {
    let (seed, batch_size) = (config.optimisation.seed, config.optimisation.batch_size);
    let Transforms { training, evaluation } = transforms;
    let contents = contents(&*train, &*test);
    let classes = train.classes();
    let names = (0..classes).map(|class| train.class_name(class));
    let class_names = names.enumerate().filter(|(class, name)| *name != class.to_string()).map(|(_, name)| name);
    let class_names = Some(class_names.collect::<Vec<_>>()).filter(|names| names.len() == classes).unwrap_or_default();
    let (mut train, mut test) = (Selection::all(train), Selection::all(test));
    if let Some(n) = config.data.subset {
        train = train.subset(n, seed)?;
    }
    let truth = train.labels().to_vec();
    if config.data.label_noise > 0. {
        train = train.with_label_noise(config.data.label_noise, seed)?;
        ensure!(
            train.labels() != truth,
            "--label-noise is {}, which changes no label of {} images; expected a larger share",
            config.data.label_noise,
            truth.len()
        );
    }
    if let Some(n) = config.data.test_subset {
        test = test.subset(n, 0)?; // the same images for every seed
    }
    let normalisation = (evaluation.mean, evaluation.std);
    let device = config.machine.device.open()?;
    let broken = config.images.skip_broken.then(|| Arc::new(BrokenPictures::default()));
    let loader = |images: Selection, transform: &Transform, batch_size: usize| ImageLoader {
        skip_broken: broken.clone(),
        device: device.clone(),
        ..ImageLoader::eval(Arc::new(images), transform.clone(), batch_size)
    };
    let side = evaluation.size;
    let evaluation_batch = EVALUATION.0.min(EVALUATION.1 / (side * side)).max(1);
    let evaluated = |images: Selection| -> Source { Arc::new(loader(images, &evaluation, evaluation_batch)) };
    let by_label = ByLabel::of(train.labels(), &truth, {
        let (train, evaluated) = (train.clone(), loader(train.clone(), &evaluation, evaluation_batch));
        move |indices| Ok(Arc::new(ImageLoader { images: Arc::new(train.select(indices)?), ..evaluated.clone() }))
    });
    Ok(Streams {
        classes,
        class_names,
        normalisation,
        contents,
        whole: Arc::new(loader(train.clone(), &evaluation, batch_size)),
        train: Arc::new(ImageLoader { seed, shuffle: true, ..loader(train, &training, batch_size) }),
        test: evaluated(test),
        by_label,
        broken,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shards_are_found_in_folders_and_by_the_start_of_their_names() {
        let root = tempfile::tempdir().unwrap();
        let touch = |name: &str| std::fs::write(root.path().join(name), "").unwrap();
        let said = |ending: &str| format!("{:#}", parts(root.path(), ending).unwrap_err());
        touch("train-0.tar");
        touch("validation-0.parquet");
        assert!(said("tar").contains("train-*.tar and val-*.tar"));
        touch("validation-0.tar");
        let shown = |name: &str| root.path().join(name).to_string_lossy().into_owned();
        assert_eq!(parts(root.path(), "tar").unwrap(), [shown("train-*.tar"), shown("validation-*.tar")]);
        std::fs::create_dir(root.path().join("train")).unwrap();
        assert_eq!(parts(root.path(), "parquet").unwrap(), [shown("train"), shown("validation-*.parquet")]);
        assert!(format!("{:#}", parts(&root.path().join("none"), "tar").unwrap_err()).contains("cannot read"));
    }
}
