//! Where Parquet files have pictures and labels.

/// The names of two columns of a Parquet file. The default is that of ImageNet on the hub, `image` and `label`;
/// CIFAR-10's image is `img`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Columns {
    /// The picture: a struct with the content of its file in `bytes`, or that content itself.
    pub image: String,
    /// The class: an integer of 32 or 64 bits.
    pub label: String,
}

impl Default for Columns {
    fn default() -> Self {
        Self { image: "image".into(), label: "label".into() }
    }
}
