//! One picture in memory: RGB bytes of any size.

use crate::Error;
use crate::decode::decode;
use candle_core::Result;
use std::fs::File;
use std::io::{ErrorKind, Read};
use std::path::Path;

/// A picture file has at most this many bytes; others are refused unread.
pub(crate) const MOST_FILE_BYTES: u64 = 1 << 30;

/// A decoded picture.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Picture {
    /// Rows; at least 1.
    pub height: usize,
    /// Columns; at least 1.
    pub width: usize,
    /// `[h, w, 3]`, row by row from the top, the bytes of a pixel in the order red, green, blue.
    pub pixels: Vec<u8>,
}

impl Picture {
    /// Decodes the content of a JPEG, PNG, WebP, BMP, TIFF, or binary PPM or PGM file, as Pillow's
    /// `Image.open(…).convert("RGB")`; `origin` says in errors where it comes from.
    ///
    /// Greyscale, palettes, CMYK and 16 bits become RGB of 8 bits, and alpha is dropped. EXIF's orientation is left
    /// alone, as torchvision does. Of an animation this is the first frame. All formats give Pillow's bytes, except
    /// JPEG, also within TIFF, and lossy WebP, which may differ by a few grey levels.
    ///
    /// # Errors
    /// [`Error::BrokenImage`] if the content is another format, truncated, damaged, or claims no pixels or more than
    /// 178 956 970, which Pillow refuses as well.
    pub fn decode(bytes: &[u8], origin: impl FnOnce() -> String) -> Result<Self> {
        decode(bytes).map_err(|reason| Error::BrokenImage { origin: origin(), reason }.into())
    }

    /// Reads and [decodes](Picture::decode) the file at `path`.
    ///
    /// # Errors
    /// As [`decode`](Picture::decode); [`Error::BrokenImage`] also if there is no such file, or one of more than 1 GiB.
    /// Another I/O error names the path.
    pub fn read(path: &Path) -> Result<Self> {
        let shown = || path.display().to_string();
        let broken = |reason: String| Error::BrokenImage { origin: shown(), reason };
        let failed = |error: std::io::Error| match error.kind() {
            ErrorKind::NotFound => broken("there is no such file".into()).into(),
            _ => candle_core::Error::from(error).context(format!("cannot read {}", path.display())),
        };
        let metadata = path.metadata().map_err(failed)?; // before `open`, which waits at a named pipe
        if !metadata.is_file() || metadata.len() > MOST_FILE_BYTES {
            let reason = format!("expected a file of at most {MOST_FILE_BYTES} bytes");
            return Err(broken(reason).into());
        }
        let mut bytes = Vec::with_capacity(metadata.len() as usize);
        File::open(path).and_then(|file| file.take(MOST_FILE_BYTES).read_to_end(&mut bytes)).map_err(failed)?;
        Self::decode(&bytes, shown)
    }
}
