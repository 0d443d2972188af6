//! The loader over pictures in memory, some of which cannot be read.

use super::*;
use crate::dataset::tests::counting;
use crate::resize::tests::noise;
use crate::{ColorJitter, Dataset, Loader, Picture, RandAugment, RandomErasing};
use std::sync::Mutex;

/// Pictures of different sizes, of which some are broken; which were read.
#[derive(Debug, Default)]
struct Album {
    labels: Vec<u32>,
    broken: Vec<usize>,
    panics: Option<usize>,
    unreachable: Option<usize>,
    read: Mutex<Vec<usize>>,
}

impl Album {
    fn of(n: usize, broken: &[usize]) -> Self {
        Self { labels: (0..n as u32).collect(), broken: broken.to_vec(), ..Self::default() }
    }

    fn reads(&self) -> Vec<usize> {
        self.read.lock().unwrap().clone()
    }
}

impl Images for Album {
    fn name(&self) -> &str {
        "album"
    }

    fn labels(&self) -> &[u32] {
        &self.labels
    }

    fn classes(&self) -> usize {
        50
    }

    fn picture(&self, index: usize) -> Result<Picture> {
        self.read.lock().unwrap().push(index);
        assert_ne!(self.panics, Some(index), "the decoder fails");
        if self.unreachable == Some(index) {
            bail!("the disk of {} fails", self.origin(index))
        }
        if self.broken.contains(&index) {
            let reason = "it is truncated".into();
            return Err(Error::BrokenImage { origin: self.origin(index), reason }.into());
        }
        Ok(noise(5 + index % 7, 4 + index % 9, index as u64))
    }
}

/// (inputs, targets, key) of each batch.
type Plain = Vec<(Vec<f32>, Vec<u32>, Key)>;

fn plain(batches: Batches<'_>) -> Result<Plain> {
    batches
        .map(|batch| {
            let Batch { inputs, targets, key, .. } = batch?;
            Ok((inputs.flatten_all()?.to_vec1()?, targets.to_vec1()?, key))
        })
        .collect()
}

fn train(images: Album) -> ImageLoader {
    let transform = Transform {
        rand_augment: Some(RandAugment::default()),
        color_jitter: Some(ColorJitter { brightness: 0.4, contrast: 0.4, saturation: 0.4, hue: 0.1 }),
        random_erasing: Some(RandomErasing::default()),
        ..Transform::imagenet_train(6)
    };
    ImageLoader { workers: 0, ..ImageLoader::train(Arc::new(images), transform, 8, 3) }
}

fn eval(images: &Arc<Album>, batch_size: usize, workers: usize) -> ImageLoader {
    ImageLoader { workers, ..ImageLoader::eval(images.clone(), Transform::imagenet_eval(4, 0.875), batch_size) }
}

#[test]
fn batches_are_the_same_for_any_number_of_workers_and_bytes_ahead() -> Result<()> {
    let expected = plain(train(Album::of(30, &[])).epoch(2))?;
    for (workers, ahead_bytes) in [(1, 0), (1, 500), (3, 300), (5, 1 << 20)] {
        let loader = ImageLoader { workers, ahead_bytes, ..train(Album::of(30, &[])) };
        assert_eq!(plain(loader.epoch(2))?, expected);
    }
    assert_ne!(plain(train(Album::of(30, &[])).epoch(3))?, expected);
    Ok(())
}

#[test]
fn a_set_in_memory_gives_the_batches_of_its_own_loader() -> Result<()> {
    let set = Arc::new(Dataset { images: (0..=255).cycle().take(20 * 12).collect(), ..counting(20, 4) });
    let transform = Transform { mean: set.mean, std: set.std, ..Transform::cifar_eval(2) };
    let ours = ImageLoader { shuffle: true, ..ImageLoader::train(set.clone(), transform, 6, 9) };
    let loader = Loader { augment: crate::Augment::none(), ..Loader::train(set, 6, 9) };
    assert_eq!((ours.steps(), ours.samples()), (loader.steps(), loader.samples()));
    assert_eq!(plain(ours.epoch(1))?, plain(loader.epoch(1))?);
    let (ours, loader) = (ImageLoader { shuffle: false, ..ours }, Loader { shuffle: false, ..loader });
    assert_eq!(plain(ours.epoch(0))?, plain(loader.epoch(0))?);
    Ok(())
}

#[test]
fn an_epoch_resumed_at_any_step_is_the_rest_of_it_and_reads_nothing_before_it() -> Result<()> {
    for workers in [0, 2] {
        let whole = plain(train(Album::of(30, &[])).epoch(1))?;
        assert_eq!(whole.iter().map(|batch| batch.1.len()).collect::<Vec<_>>(), [8, 8, 8, 6]);
        for step in 0..=5 {
            let images = Arc::new(Album::of(30, &[]));
            let loader = ImageLoader { workers, images: images.clone(), ..train(Album::default()) };
            assert_eq!(plain(loader.epoch_from(1, step))?, whole[step.min(4)..]);
            let mut expected: Vec<u32> = whole[step.min(4)..].iter().flat_map(|batch| batch.1.clone()).collect();
            let mut read: Vec<u32> = images.reads().into_iter().map(|index| index as u32).collect();
            expected.sort_unstable();
            read.sort_unstable();
            assert_eq!(read, expected);
        }
    }
    Ok(())
}

#[test]
fn no_more_pictures_are_ahead_than_the_bytes_allow() -> Result<()> {
    let images = Arc::new(Album::of(50, &[]));
    let loader = ImageLoader { ahead_bytes: 5 * 4 * 4 * 3 + 1, ..eval(&images, 4, 3) };
    let mut epoch = loader.epoch(0);
    epoch.next().transpose()?;
    std::thread::sleep(std::time::Duration::from_millis(30));
    assert!(images.reads().len() <= 4 + 5, "{:?}", images.reads());
    drop(epoch);
    drop(loader);
    assert_eq!(Arc::strong_count(&images), 1, "a worker still has the images");
    Ok(())
}

#[test]
fn a_broken_picture_is_an_error_in_its_place_that_names_it() {
    for workers in [0, 3] {
        let images = Arc::new(Album::of(12, &[5, 6]));
        let loader = eval(&images, 4, workers);
        let batches: Vec<Result<Batch>> = loader.epoch(0).collect();
        assert_eq!(batches.iter().map(Result::is_ok).collect::<Vec<_>>(), [true, false, true]);
        let error = batches[1].as_ref().unwrap_err().to_string();
        assert!(error.contains("cannot decode album 5: it is truncated"), "{error}");
    }
}

#[test]
fn broken_pictures_are_left_out_and_listed_once_and_the_others_stay() -> Result<()> {
    let images = Arc::new(Album::of(12, &[5, 6, 11]));
    let broken = Arc::new(BrokenPictures::default());
    let whole = plain(eval(&Arc::new(Album::of(12, &[])), 4, 0).epoch(0))?;
    for workers in [0, 3] {
        let loader = ImageLoader { skip_broken: Some(broken.clone()), ..eval(&images, 4, workers) };
        let batches = plain(loader.epoch(0))?;
        assert_eq!(
            batches.iter().map(|batch| &batch.1[..]).collect::<Vec<_>>(),
            [&[0, 1, 2, 3][..], &[4, 7], &[8, 9, 10]]
        );
        assert_eq!(batches[0], whole[0]);
        assert_eq!(batches[1].0, [&whole[1].0[..48], &whole[1].0[144..]].concat());
        assert_eq!(plain(loader.epoch_from(0, 1))?, batches[1..]);
    }
    assert_eq!(broken.count(), 3);
    let (origin, why) = &broken.list()[1];
    assert!(origin == "album 5" && why.contains("cannot decode album 5: it is truncated"), "{origin}: {why}");
    Ok(())
}

#[test]
fn a_batch_without_any_picture_is_an_error() {
    let images = Arc::new(Album::of(6, &[2, 3]));
    let loader = ImageLoader { skip_broken: Some(Arc::default()), ..eval(&images, 2, 1) };
    let batches: Vec<Result<Batch>> = loader.epoch(0).collect();
    assert_eq!(batches.iter().map(Result::is_ok).collect::<Vec<_>>(), [true, false, true]);
    let error = batches[1].as_ref().unwrap_err();
    assert!(matches!(Error::of(error), Some(Error::NoPicture { step: 1, .. })), "{error}");
    assert!(error.to_string().contains("the first: cannot decode album 2: it is truncated"), "{error}");
}

#[test]
fn a_picture_that_is_not_broken_but_out_of_reach_is_not_left_out() {
    let images = Arc::new(Album { unreachable: Some(2), ..Album::of(6, &[3]) });
    let loader = ImageLoader { skip_broken: Some(Arc::default()), ..eval(&images, 6, 2) };
    let error = loader.epoch(0).next().unwrap().unwrap_err().to_string();
    assert!(error.contains("the disk of album 2 fails"), "{error}");
}

#[test]
fn a_panic_of_a_worker_is_an_error_even_where_broken_pictures_are_skipped() {
    let images = Arc::new(Album { panics: Some(4), ..Album::of(6, &[]) });
    let loader = ImageLoader { skip_broken: Some(Arc::default()), ..eval(&images, 2, 2) };
    let error = loader.epoch(0).nth(2).unwrap().unwrap_err().to_string();
    assert!(error.contains("album 4") && error.contains("the decoder fails"), "{error}");
}

#[test]
fn what_cannot_be_loaded_is_an_error_that_says_why() {
    let images = Arc::new(Album::of(6, &[]));
    let first = |loader: ImageLoader| loader.epoch(0).next().unwrap().unwrap_err().to_string();
    assert!(first(eval(&images, 0, 0)).contains("batch_size is 0"));
    assert!(first(eval(&images, 2, 1025)).contains("workers is 1025"));
    let dropped = ImageLoader { drop_last: true, ..eval(&images, 7, 0) };
    assert!(first(dropped).contains("album has 6 pictures, too few for one batch of 7"));
    let large = ImageLoader { transform: Transform::imagenet_eval(5000, 1.), ..eval(&images, 2, 0) };
    assert!(first(large).contains("size is 5000"));
    let unknown = Arc::new(Album { labels: vec![0, 50], ..Album::default() });
    let error = first(eval(&unknown, 2, 0));
    assert!(error.contains("album 1 has label 50, expected below 50"), "{error}");
}

#[test]
fn slices_are_those_of_the_batches_and_no_other_picture_is_read() -> Result<()> {
    for rank in 0..3 {
        let share = Share { rank, of: 3 };
        for workers in [0, 2] {
            let loader = ImageLoader { workers, ..train(Album::of(21, &[])) };
            let cut = Box::new(loader.epoch_from(1, 1).map(|batch| batch?.slice(share)));
            assert_eq!(plain(loader.slices_from(1, 1, share))?, plain(cut)?);
        }
        let images = Arc::new(Album::of(21, &[]));
        let slices = eval(&images, 8, 0).slices_from(0, 1, share).collect::<Result<Vec<_>>>()?;
        let expected: Vec<usize> = share.range(8).map(|i| 8 + i).chain(share.range(5).map(|i| 16 + i)).collect();
        assert_eq!(images.reads(), expected);
        assert_eq!((slices[0].part.before, slices[0].part.after), (share.range(8).start, 8 - share.range(8).end));
    }
    Ok(())
}
