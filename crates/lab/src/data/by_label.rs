//! Training images by whether their label is the true one.

use super::Source;
use anyhow::Result;

/// Training images in two, where some labels are wrong. They are read or copied when they are asked for, and not
/// before.
pub struct ByLabel {
    clean: Vec<usize>,
    wrong: Vec<usize>,
    select: Select,
}

/// From the indices of some images to their evaluation batches.
type Select = Box<dyn Fn(&[usize]) -> Result<Source>>;

impl ByLabel {
    /// None where no label is wrong. `select` makes the evaluation batches of some of them.
    pub(super) fn of(
        labels: &[u32],
        truth: &[u32],
        select: impl Fn(&[usize]) -> Result<Source> + 'static,
    ) -> Option<Self> {
        let (clean, wrong): (Vec<usize>, Vec<usize>) = (0..labels.len()).partition(|i| labels[*i] == truth[*i]);
        let select = Box::new(select);
        (!wrong.is_empty()).then_some(Self { clean, wrong, select })
    }

    /// The images with their true label; none if there is no such image.
    ///
    /// # Errors
    /// If they cannot be placed on the device.
    pub fn clean(&self) -> Result<Option<Source>> {
        (!self.clean.is_empty()).then(|| (self.select)(&self.clean)).transpose()
    }

    /// Those with another.
    ///
    /// # Errors
    /// As of the others.
    pub fn wrong(&self) -> Result<Option<Source>> {
        Ok(Some((self.select)(&self.wrong)?))
    }
}
