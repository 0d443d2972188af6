//! Some pictures of a set, with labels of their own: the subsets and the label noise of sets that stay on disk.

use crate::labels::{held_out, spoil, subset};
use crate::{Error, Images, Picture};
use candle_core::Result;
use msharp_core::Key;
use std::sync::Arc;

/// Pictures of another set by their index there. Memory holds an index and a label for each.
///
/// Of a set in memory these are the pictures and labels of [`Dataset::subset`](crate::Dataset::subset) and
/// [`Dataset::with_label_noise`](crate::Dataset::with_label_noise).
#[derive(Clone, Debug)]
pub struct Selection {
    images: Arc<dyn Images>,
    name: String,
    indices: Vec<usize>,
    labels: Vec<u32>,
}

impl Selection {
    /// All of `images`.
    pub fn all(images: Arc<dyn Images>) -> Self {
        let (name, labels) = (images.name().to_owned(), images.labels().to_vec());
        Self { images, name, indices: (0..labels.len()).collect(), labels }
    }

    /// A class-balanced subset of `n` pictures.
    ///
    /// # Errors
    /// As [`Dataset::subset`](crate::Dataset::subset).
    pub fn subset(self, n: usize, seed: u64) -> Result<Self> {
        let chosen = subset(&self.name, &self.labels, self.classes(), n, seed)?;
        Ok(Self { name: format!("{} subset {n}", self.name), ..self.select(&chosen)? })
    }

    /// The pictures without `n` of them, and these.
    ///
    /// # Errors
    /// As [`Dataset::hold_out`](crate::Dataset::hold_out).
    pub fn hold_out(self, n: usize, seed: u64) -> Result<[Self; 2]> {
        let [rest, held] = held_out(&self.name, &self.labels, self.classes(), n, seed)?;
        let named = |rest: &str, pictures: Self| Self { name: format!("{} {rest}", self.name), ..pictures };
        Ok([named(&format!("without {n}"), self.select(&rest)?), named(&format!("held out {n}"), self.select(&held)?)])
    }

    /// The same pictures, a share of them with a wrong label.
    ///
    /// # Errors
    /// As [`Dataset::with_label_noise`](crate::Dataset::with_label_noise).
    pub fn with_label_noise(mut self, fraction: f64, seed: u64) -> Result<Self> {
        spoil(&self.name, &mut self.labels, self.images.classes(), fraction, seed)?;
        Ok(self)
    }

    /// The pictures at `indices`, in that order.
    ///
    /// # Errors
    /// [`Error::InvalidArgument`] if there is no such picture.
    pub fn select(&self, indices: &[usize]) -> Result<Self> {
        if let Some(index) = indices.iter().find(|index| **index >= self.indices.len()) {
            let text = format!("select: picture {index} of {}, expected below {}", self.name, self.indices.len());
            return Err(Error::InvalidArgument(text).into());
        }
        Ok(Self {
            images: self.images.clone(),
            name: self.name.clone(),
            indices: indices.iter().map(|&index| self.indices[index]).collect(),
            labels: indices.iter().map(|&index| self.labels[index]).collect(),
        })
    }
}

impl Images for Selection {
    fn name(&self) -> &str {
        &self.name
    }

    fn labels(&self) -> &[u32] {
        &self.labels
    }

    fn classes(&self) -> usize {
        self.images.classes()
    }

    fn class_name(&self, class: usize) -> String {
        self.images.class_name(class)
    }

    fn origin(&self, index: usize) -> String {
        self.images.origin(self.indices[index])
    }

    fn picture(&self, index: usize) -> Result<Picture> {
        self.images.picture(self.indices[index])
    }

    /// In the order of the whole set, so that what is near there is near here.
    fn order(&self, key: Key) -> Vec<usize> {
        let mut own: Vec<Vec<usize>> = vec![Vec::new(); self.images.labels().len()]; // by index in the whole set
        self.indices.iter().enumerate().for_each(|(index, &whole)| own[whole].push(index));
        self.images.order(key).into_iter().flat_map(|whole| std::mem::take(&mut own[whole])).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Dataset;
    use crate::dataset::tests::counting;

    fn all(set: &Dataset) -> Selection {
        Selection::all(Arc::new(set.clone()))
    }

    #[test]
    fn pictures_and_labels_are_those_of_the_same_subset_in_memory() -> Result<()> {
        let set = counting(60, 3);
        let (few, own) =
            (set.subset(10, 5)?.with_label_noise(0.5, 2)?, all(&set).subset(10, 5)?.with_label_noise(0.5, 2)?);
        assert_eq!((own.labels(), own.name(), own.classes()), (&few.labels[..], few.name.as_str(), 3));
        for i in 0..10 {
            assert_eq!(own.picture(i)?.pixels, few.image(i));
        }
        assert!(own.select(&[10]).is_err() && all(&set).subset(61, 0).is_err());
        Ok(())
    }

    #[test]
    fn the_order_is_that_of_the_whole_set() -> Result<()> {
        let set = counting(30, 3);
        let (few, key) = (all(&set).select(&[7, 3, 29, 3])?, Key::new(4));
        let order = few.order(key);
        let mut sorted = order.clone();
        sorted.sort_unstable();
        assert_eq!(sorted, [0, 1, 2, 3]);
        let whole: Vec<usize> = Images::order(&set, key).into_iter().filter(|i| [3, 7, 29].contains(i)).collect();
        let mut seen: Vec<usize> = order.iter().map(|&i| [7, 3, 29, 3][i]).collect();
        seen.dedup();
        assert_eq!(seen, whole);
        Ok(())
    }
}
