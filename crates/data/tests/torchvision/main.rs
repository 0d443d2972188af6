//! Resizing, crops and operations against torchvision on Pillow's images, bit for bit.
//!
//! `make.py` made `transforms.json`.

use candle_core::Result;
use msharp_core::Key;
use msharp_data::{Crop, Interpolation, Picture, PictureOp, RandAugment, Transform};
use serde::Deserialize;

#[derive(Deserialize)]
struct Cases {
    pictures: Vec<Shown>,
    resizings: Vec<Resized>,
    evaluations: Vec<Evaluation>,
    operations: Vec<Operation>,
    augmentations: Vec<Augmentation>,
}

#[derive(Deserialize)]
struct Shown {
    height: usize,
    width: usize,
    /// In hexadecimal.
    pixels: String,
}

#[derive(Deserialize)]
struct Resized {
    picture: usize,
    interpolation: String,
    #[serde(flatten)]
    expected: Shown,
}

#[derive(Deserialize)]
struct Evaluation {
    picture: usize,
    interpolation: String,
    crop_pct: f64,
    #[serde(flatten)]
    expected: Shown,
}

#[derive(Deserialize)]
struct Operation {
    picture: usize,
    name: String,
    factor: f32,
    #[serde(flatten)]
    expected: Shown,
}

#[derive(Deserialize)]
struct Augmentation {
    picture: usize,
    place: usize,
    name: String,
    magnitude: usize,
    negative: bool,
    #[serde(flatten)]
    expected: Shown,
}

impl Shown {
    fn picture(&self) -> Picture {
        let bytes = self.pixels.as_bytes().chunks(2).map(|digits| {
            u8::from_str_radix(std::str::from_utf8(digits).expect("ASCII"), 16).expect("two hexadecimal digits")
        });
        Picture { height: self.height, width: self.width, pixels: bytes.collect() }
    }
}

fn cases() -> (Cases, Vec<Picture>) {
    let cases: Cases = serde_json::from_str(include_str!("transforms.json")).expect("the cases of make.py");
    let pictures = cases.pictures.iter().map(Shown::picture).collect();
    (cases, pictures)
}

/// Fails with the largest difference in grey levels, and where it is.
fn assert_same(what: &str, found: &Picture, expected: &Picture) {
    assert_eq!((found.height, found.width), (expected.height, expected.width), "{what}");
    let differences = found.pixels.iter().zip(&expected.pixels).map(|(a, b)| a.abs_diff(*b));
    let (at, far) = differences.enumerate().max_by_key(|(_, far)| *far).expect("pixels");
    assert!(far == 0, "{what}: differs by {far} at byte {at}: {} for {}", found.pixels[at], expected.pixels[at]);
}

fn interpolation(name: &str) -> Interpolation {
    name.parse().expect("an interpolation")
}

#[test]
fn a_resized_picture_has_pillows_bits() -> Result<()> {
    let (cases, pictures) = cases();
    assert!(cases.resizings.len() >= 20);
    for case in &cases.resizings {
        let Shown { height, width, .. } = case.expected;
        let found = pictures[case.picture].resize(height, width, interpolation(&case.interpolation))?;
        let what = format!("picture {} to {height}·{width}, {}", case.picture, case.interpolation);
        assert_same(&what, &found, &case.expected.picture());
    }
    Ok(())
}

#[test]
fn evaluation_sees_the_pixels_of_resize_and_center_crop() -> Result<()> {
    let (cases, pictures) = cases();
    assert!(cases.evaluations.len() >= 12);
    for case in &cases.evaluations {
        let size = case.expected.height;
        let transform = Transform {
            crop: Crop::Center { crop_pct: case.crop_pct },
            interpolation: interpolation(&case.interpolation),
            ..Transform::imagenet_eval(size, 1.)
        };
        let found = transform.picture(&pictures[case.picture], Key::new(0))?;
        let what = format!("picture {} to {size}, {}, {}", case.picture, case.crop_pct, case.interpolation);
        assert_same(&what, &found, &case.expected.picture());
    }
    Ok(())
}

#[test]
fn adjusted_colours_have_torchvisions_bits() {
    let (cases, pictures) = cases();
    assert!(cases.operations.len() >= 20);
    for case in &cases.operations {
        let op = match case.name.as_str() {
            "Brightness" => PictureOp::Brightness(case.factor),
            "Contrast" => PictureOp::Contrast(case.factor),
            "Saturation" => PictureOp::Saturation(case.factor),
            "Sharpness" => PictureOp::Sharpness(case.factor),
            "Hue" => PictureOp::Hue(case.factor),
            other => panic!("{other}"),
        };
        let mut found = pictures[case.picture].clone();
        op.apply(&mut found);
        assert_same(&format!("{op:?}"), &found, &case.expected.picture());
    }
}

#[test]
fn rand_augment_has_torchvisions_operations_at_its_magnitudes() {
    let (cases, pictures) = cases();
    assert!(cases.augmentations.len() >= 50);
    for case in &cases.augmentations {
        let mut found = pictures[case.picture].clone();
        let augment = RandAugment { magnitude: case.magnitude, ..RandAugment::default() };
        let op = augment.ops(found.height, found.width, case.negative)[case.place];
        op.apply(&mut found);
        assert_same(&format!("{} at {}: {op:?}", case.name, case.magnitude), &found, &case.expected.picture());
    }
}
