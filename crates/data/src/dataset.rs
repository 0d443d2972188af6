//! A labelled set of images, held in memory once.

use crate::Error;
use crate::labels::{held_out, spoil, subset, unknown_label};
use candle_core::Result;

/// Red, green, blue: the bytes of a pixel.
pub(crate) const CHANNELS: usize = 3;

/// Images as bytes, their labels, and the mean and deviation to normalise them by.
///
/// A literal makes one from images of your own; the images may have any size. A [`Loader`](crate::Loader) shares it
/// through an `Arc` and copies only the bytes of the current batch. The loader also checks that the lengths agree and
/// that the labels are below `classes`.
#[derive(Clone, Debug, PartialEq)]
pub struct Dataset {
    /// The name in messages: `cifar10 train`.
    pub name: String,
    /// `[n, h, w, 3]`, row by row from the top, the bytes of a pixel in the order red, green, blue.
    pub images: Vec<u8>,
    /// `[n]`, each below `classes`.
    pub labels: Vec<u32>,
    /// The number of classes.
    pub classes: usize,
    /// Height and width in pixels.
    pub size: (usize, usize),
    /// Mean of each channel, of pixel values in [0, 1]. Finite.
    pub mean: [f32; 3],
    /// Standard deviation of each channel, of pixel values in [0, 1]. Finite and above 0.
    pub std: [f32; 3],
}

/// A training and a test set.
#[derive(Clone, Debug, PartialEq)]
pub struct Split {
    /// For fitting the parameters.
    pub train: Dataset,
    /// For measuring the accuracy.
    pub test: Dataset,
}

impl Dataset {
    /// `n`, the number of images.
    pub fn len(&self) -> usize {
        self.labels.len()
    }

    /// Whether there is no image.
    pub fn is_empty(&self) -> bool {
        self.labels.is_empty()
    }

    /// The bytes of image `index`, `[h, w, 3]`.
    ///
    /// # Panics
    /// If there is no such image.
    #[track_caller]
    pub fn image(&self, index: usize) -> &[u8] {
        &self.images[index * self.image_len()..][..self.image_len()]
    }

    /// The error for the label of image `index`, which is not below the number of classes.
    pub(crate) fn unknown_label(&self, index: usize) -> Error {
        unknown_label(&self.name, index, self.labels[index], self.classes)
    }

    /// h·w·3.
    pub(crate) fn image_len(&self) -> usize {
        self.size.0 * self.size.1 * CHANNELS
    }

    /// A class-balanced subset of `n` images, drawn without replacement, in the order of the set.
    ///
    /// The numbers of images per class differ by at most one, unless a class has too few. Subsets of one seed are
    /// nested: a smaller one is contained in a larger one. Copies n·h·w·3 bytes.
    ///
    /// # Errors
    /// [`Error::InvalidArgument`] if `n` is 0 or larger than the set; [`Error::UnknownLabel`] if a label is not below
    /// the number of classes.
    pub fn subset(&self, n: usize, seed: u64) -> Result<Dataset> {
        let chosen = subset(&self.name, &self.labels, self.classes, n, seed)?;
        Ok(Dataset { name: format!("{} subset {n}", self.name), ..self.select(&chosen)? })
    }

    /// The set without `n` images, and these: to choose settings on images that are neither trained nor tested on.
    ///
    /// Of each class about the same share is held out, and an image is left. Copies the whole set.
    ///
    /// # Errors
    /// [`Error::InvalidArgument`] if `n` is 0 or more than that allows; [`Error::UnknownLabel`] if a label is not below
    /// the number of classes.
    pub fn hold_out(&self, n: usize, seed: u64) -> Result<[Dataset; 2]> {
        let [rest, held] = held_out(&self.name, &self.labels, self.classes, n, seed)?;
        let named = |rest: &str, set: Dataset| Dataset { name: format!("{} {rest}", self.name), ..set };
        Ok([named(&format!("without {n}"), self.select(&rest)?), named(&format!("held out {n}"), self.select(&held)?)])
    }

    /// The images at `indices`, in that order.
    ///
    /// # Errors
    /// [`Error::InvalidArgument`] if there is no such image.
    pub fn select(&self, indices: &[usize]) -> Result<Dataset> {
        if let Some(index) = indices.iter().find(|index| **index >= self.len()) {
            let text = format!("select: image {index} of {}, expected an index below {}", self.name, self.len());
            return Err(Error::InvalidArgument(text).into());
        }
        Ok(Dataset {
            name: self.name.clone(),
            images: indices.iter().flat_map(|&index| self.image(index)).copied().collect(),
            labels: indices.iter().map(|&index| self.labels[index]).collect(),
            ..*self
        })
    }

    /// The set with symmetric label noise: exactly round(`fraction`·n) images, drawn without replacement, get the label
    /// of one of the *other* classes, each equally likely.
    ///
    /// Foret et al. (2021, <https://arxiv.org/abs/2010.01412>, section 3.3) train on CIFAR-10 with fractions 0.2 to
    /// 0.8. Some authors draw the new label from all k classes instead; their fraction p is p·(k − 1)/k here. Under one
    /// seed, a larger fraction changes the labels that a smaller one changes, in the same way, and further ones.
    ///
    /// # Errors
    /// [`Error::InvalidArgument`] if `fraction` is not within 0 to 1, or the set has one class only.
    pub fn with_label_noise(mut self, fraction: f64, seed: u64) -> Result<Dataset> {
        spoil(&self.name, &mut self.labels, self.classes, fraction, seed)?;
        Ok(self)
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::Images;

    /// `n` images of 2×2 pixels, image i filled with the byte i; the labels go round the classes.
    pub(crate) fn counting(n: usize, classes: usize) -> Dataset {
        Dataset {
            name: "counting".into(),
            images: (0..n).flat_map(|i| [i as u8; 12]).collect(),
            labels: (0..n).map(|i| (i % classes) as u32).collect(),
            classes,
            size: (2, 2),
            mean: [0.5; 3],
            std: [0.25; 3],
        }
    }

    fn counts(set: &Dataset) -> Vec<usize> {
        (0..set.classes).map(|class| set.labels.iter().filter(|&&label| label as usize == class).count()).collect()
    }

    #[test]
    fn a_subset_is_balanced_nested_and_keeps_images_with_their_labels() -> Result<()> {
        let set = counting(60, 3);
        let ten = set.subset(10, 5)?;
        let mut sizes = counts(&ten);
        sizes.sort_unstable();
        assert_eq!(sizes, [3, 3, 4]);
        for i in 0..10 {
            assert_eq!(ten.image(i)[0] as u32 % 3, ten.labels[i]);
        }
        let twenty = set.subset(20, 5)?;
        let firsts = |set: &Dataset| (0..set.len()).map(|i| set.image(i)[0]).collect::<Vec<_>>();
        assert!(firsts(&ten).iter().all(|image| firsts(&twenty).contains(image)));
        assert_ne!(firsts(&ten), firsts(&set.subset(10, 6)?));
        assert_eq!(set.subset(60, 5)?.images, set.images);
        Ok(())
    }

    #[test]
    fn images_that_are_held_out_are_in_no_training_set() -> Result<()> {
        let set = counting(60, 3);
        let [rest, held] = set.hold_out(10, 5)?;
        let firsts = |set: &Dataset| (0..set.len()).map(|i| set.image(i)[0]).collect::<Vec<_>>();
        let mut all = [firsts(&rest), firsts(&held)].concat();
        all.sort_unstable();
        assert_eq!(all, firsts(&set));
        let of_class = |class| held.labels.iter().filter(|label| **label == class).count();
        assert!((0..3).all(|class| [3, 4].contains(&of_class(class))));
        assert_ne!(firsts(&held), firsts(&set.subset(10, 5)?));
        let error = set.hold_out(60, 0).unwrap_err().to_string();
        assert!(error.contains("1 to 57"), "{error}");
        // Classes of 24, 4 and 2 images: a half of each, and no class is left without an image.
        let mut uneven = counting(30, 3);
        uneven.labels = [vec![0; 24], vec![1; 4], vec![2; 2]].concat();
        let sizes = |set: &Dataset| [0, 1, 2].map(|class| set.labels.iter().filter(|label| **label == class).count());
        assert_eq!(uneven.hold_out(15, 5)?.map(|set| sizes(&set)), [[12, 2, 1], [12, 2, 1]]);
        assert_eq!(uneven.hold_out(27, 5)?.map(|set| sizes(&set)), [[1, 1, 1], [23, 3, 1]]);
        assert!(uneven.hold_out(28, 5).is_err());
        let stored = crate::Selection::all(std::sync::Arc::new(set.clone())).hold_out(10, 5)?;
        assert_eq!([stored[0].labels(), stored[1].labels()], [&rest.labels[..], &held.labels[..]]);
        assert_eq!(stored.map(|set| set.name().to_owned()), [rest.name, held.name]);
        Ok(())
    }

    #[test]
    fn a_class_that_runs_out_is_made_up_for_by_the_others() -> Result<()> {
        let mut set = counting(30, 3);
        for (i, label) in set.labels.iter_mut().enumerate() {
            *label = if i < 2 { 0 } else { 1 + (i % 2) as u32 };
        }
        assert_eq!(counts(&set.subset(12, 0)?), [2, 5, 5]);
        Ok(())
    }

    #[test]
    fn an_impossible_subset_is_an_error_that_says_so() {
        for n in [0, 61] {
            let error = counting(60, 3).subset(n, 0).unwrap_err();
            assert!(matches!(Error::of(&error), Some(Error::InvalidArgument(_))), "{error}");
            let error = error.to_string();
            assert!(error.contains("subset") && error.contains("1 to 60"), "{error}");
        }
    }

    #[test]
    fn label_noise_is_exact_in_number_uniform_over_the_others_and_nested() -> Result<()> {
        let set = counting(4000, 4);
        let noisy = set.clone().with_label_noise(0.25, 9)?;
        assert_eq!(noisy, set.clone().with_label_noise(0.25, 9)?);
        assert_eq!(noisy.images, set.images);
        let spoilt: Vec<usize> = (0..4000).filter(|&i| noisy.labels[i] != set.labels[i]).collect();
        assert_eq!(spoilt.len(), 1000);
        let mut shifts = [0; 4];
        for &i in &spoilt {
            shifts[((noisy.labels[i] + 4 - set.labels[i]) % 4) as usize] += 1;
        }
        // 1000/3 each, standard deviation √(1000·⅓·⅔) = 15
        assert!(shifts[1..].iter().all(|&count| (270..400).contains(&count)), "{shifts:?}");
        let more = set.clone().with_label_noise(0.5, 9)?;
        assert!(spoilt.iter().all(|&i| more.labels[i] == noisy.labels[i]));
        let all = set.clone().with_label_noise(1., 9)?;
        assert!((0..4000).all(|i| all.labels[i] != set.labels[i] && all.labels[i] < 4));
        assert_eq!(set.clone().with_label_noise(0., 9)?, set);
        Ok(())
    }

    #[test]
    fn a_fraction_that_is_none_is_an_error_that_says_so() {
        for fraction in [-0.1, 1.1, f64::NAN] {
            let error = counting(6, 3).with_label_noise(fraction, 0).unwrap_err().to_string();
            assert!(error.contains("label noise") && error.contains("0 to 1"), "{error}");
        }
        assert!(counting(6, 1).with_label_noise(0.5, 0).is_err());
    }
}
