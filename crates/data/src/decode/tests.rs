//! Decoded pictures against Pillow's, and files that are truncated, damaged or hostile.

use super::*;
use rand::RngExt;
use serde::Deserialize;

/// A file and what Pillow makes of it; bytes are hexadecimal. `pillow/make.py` writes them.
#[derive(Deserialize)]
struct Case {
    name: String,
    tolerance: u8,
    file: String,
    width: usize,
    height: usize,
    pixels: String,
}

fn bytes(hexadecimal: &str) -> Vec<u8> {
    let digits = hexadecimal.as_bytes().as_chunks::<2>().0;
    digits.iter().map(|pair| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16).unwrap()).collect()
}

fn cases() -> Vec<Case> {
    serde_json::from_str(include_str!("pillow/pictures.json")).unwrap()
}

/// The file of the case of this name.
fn file(name: &str) -> Vec<u8> {
    bytes(&cases().iter().find(|case| case.name == name).unwrap().file)
}

#[test]
fn every_kind_of_picture_has_the_bytes_that_pillow_gives() {
    let mut wrong = Vec::new();
    for Case { name, tolerance, file, width, height, pixels } in cases() {
        match decode(&bytes(&file)) {
            Ok(picture) if (picture.height, picture.width) == (height, width) => {
                let expected = bytes(&pixels);
                assert_eq!(picture.pixels.len(), expected.len(), "{name}");
                let most = picture.pixels.iter().zip(&expected).map(|(a, b)| a.abs_diff(*b)).max();
                if most > Some(tolerance) {
                    wrong.push(format!("{name}: {most:?} grey levels, expected at most {tolerance}"));
                }
            }
            other => wrong.push(format!("{name}: {other:?}")),
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn a_truncated_file_is_an_error_unless_its_pixels_are_complete() {
    // what is missing may be the end of a container, but not the end marker of a JPEG
    for Case { name, file, .. } in cases() {
        let whole = bytes(&file);
        let full = decode(&whole).unwrap();
        for length in (0..whole.len()).step_by(7) {
            match decode(&whole[..length]) {
                Ok(picture) => {
                    assert_eq!(picture, full, "{name}: {length} of {} bytes", whole.len());
                    assert!(!name.starts_with("jpeg") || name.ends_with("after it"), "{name}: {length} bytes");
                }
                Err(reason) => assert!(!reason.is_empty()),
            }
        }
    }
}

#[test]
fn damaged_bytes_are_an_error_or_a_picture_and_never_a_panic() {
    let mut rng = msharp_core::Key::new(1).rng();
    for Case { name, file, .. } in cases() {
        let whole = bytes(&file);
        for _ in 0..200 {
            let mut damaged = whole.clone();
            for _ in 0..rng.random_range(1..5) {
                let at = rng.random_range(0..damaged.len());
                damaged[at] = rng.random_range(0..=255u32) as u8;
            }
            if let Ok(Picture { height, width, pixels }) = decode(&damaged) {
                assert_eq!(pixels.len(), height * width * 3, "{name}");
            }
        }
    }
}

/// libjpeg skips them with a warning, and so does Pillow.
#[test]
fn bytes_between_the_parts_of_a_jpegs_header_are_no_damage() {
    let whole = file("jpeg L");
    let frame = whole.windows(2).position(|pair| pair == [0xff, 0xc0]).unwrap();
    for (at, garbage) in [(2, &[0u8, 7, 0xff, 0][..]), (frame, &[1; 9])] {
        let with = [&whole[..at], garbage, &whole[at..]].concat();
        assert_eq!(decode(&with).unwrap(), decode(&whole).unwrap());
        assert!(decode(&with[..with.len() / 2]).is_err());
    }
}

/// One pixel, RGBA of 8 bits, uncompressed; 1 says that the colours are multiplied by alpha, 2 that they are not.
#[test]
fn colours_that_are_multiplied_by_alpha_are_refused() {
    let tiff = |extra: u16| {
        let mut file = b"II*\0\x08\0\0\0".to_vec();
        let entries = [
            (256u16, 3u16, 1u32, 1u32),
            (257, 3, 1, 1),
            (258, 3, 4, 140), // where the four depths are
            (259, 3, 1, 1),
            (262, 3, 1, 2),
            (273, 4, 1, 148), // where the pixel is
            (277, 3, 1, 4),
            (278, 3, 1, 1),
            (279, 4, 1, 4),
            (338, 3, 1, extra.into()),
        ];
        file.extend((entries.len() as u16).to_le_bytes());
        for (tag, kind, count, value) in entries {
            file.extend([tag.to_le_bytes(), kind.to_le_bytes()].concat());
            file.extend([count.to_le_bytes(), value.to_le_bytes()].concat());
        }
        file.resize(140, 0);
        file.extend([8, 0, 8, 0, 8, 0, 8, 0, 10, 20, 30, 40]);
        file
    };
    assert_eq!(decode(&tiff(2)).unwrap().pixels, [10, 20, 30]);
    assert!(decode(&tiff(1)).unwrap_err().contains("multiplied by alpha"));
}

#[test]
fn absurd_dimensions_are_refused_before_memory_is_taken() {
    let change = |name: &str, at: usize, with: &[u8]| {
        let mut file = file(name);
        file[at..at + with.len()].copy_from_slice(with);
        if name.starts_with("png") {
            let sum = crc(&file[12..29]);
            file[29..33].copy_from_slice(&sum.to_be_bytes());
        }
        file
    };
    let frame = |file: &[u8]| file.windows(2).position(|pair| pair == [0xff, 0xc0]).unwrap() + 5;
    let jpeg = file("jpeg L");
    for (file, claim) in [
        (change("png RGB", 16, &[0, 0, 0x7f, 0xff, 0, 0, 0x7f, 0xff]), "32767·32767 pixels"),
        (change("jpeg L", frame(&jpeg), &[0xff, 0xff, 0xff, 0xff]), "65535·65535 pixels"),
        (change("bmp RGB", 18, &[0xff, 0xff, 0xff, 0x7f]), "2147483647·9 pixels"),
        (change("bmp RGB", 22, &[0, 0, 0, 0x80]), "13·2147483648 pixels"),
        (b"P6 4000000000 4000000000 255\n".to_vec(), "4000000000·4000000000 pixels"),
        (b"P5 0 5 255\n".to_vec(), "0·5 pixels"),
    ] {
        let reason = decode(&file).unwrap_err();
        assert!(reason.contains(claim) && reason.contains("expected at "), "{reason}");
    }
    for file in [
        change("png L", 16, &[0; 4]),
        change("png L", 16, &[0x7f, 0xff, 0xff, 0xff, 0x7f, 0xff, 0xff, 0xff]),
        change("webp RGB without loss", 21, &[0xff; 4]),
    ] {
        assert!(decode(&file).is_err());
    }
    assert_eq!(size(u16::MAX, 2730u16), Ok((2730, 65535)));
    assert!(size(u16::MAX, 2731u16).is_err(), "65535·2731 is just above the limit");
}

/// The checksum of a PNG's chunk.
fn crc(bytes: &[u8]) -> u32 {
    let step = |crc: u32| if crc & 1 == 1 { crc >> 1 ^ 0xedb8_8320 } else { crc >> 1 };
    !bytes.iter().fold(!0, |crc, byte| (0..8).fold(crc ^ u32::from(*byte), |crc, _| step(crc)))
}

#[test]
fn another_format_is_named_with_those_that_are_expected() {
    for (bytes, what) in [
        (&b"GIF89a"[..], "a GIF"),
        (b"\0\0\0 ftypavif", "an AVIF"),
        (b"P3 1 1 255 1 2 3", "as text"),
        (b"<html>", "HTML"),
        (b"hello", "no picture"),
    ] {
        let reason = decode(bytes).unwrap_err();
        assert!(reason.contains(what) && reason.contains("expected JPEG, PNG, WebP"), "{reason}");
    }
    assert_eq!(decode(b"").unwrap_err(), "the file is empty");
    for incomplete in [&b"P5"[..], b"P6 1", b"P6 1 1 255", b"P5 #", b"P511 255\n1", b"BM", b"\xff\xd8"] {
        assert!(decode(incomplete).unwrap_err().contains("it"), "{incomplete:?}");
    }
    for (wrong, reason) in [
        (&b"P5 1 1 0\n1"[..], "largest value is 0"),
        (b"P5 1 1 65536\n1", "largest value is 65536"),
        (b"P6 1 1 255\n12", "2 bytes of pixels, expected 3"),
    ] {
        assert!(decode(wrong).unwrap_err().contains(reason), "{wrong:?}");
    }
}

#[test]
fn a_jpeg_with_a_thumbnail_needs_an_end_marker_of_its_own() {
    let whole = file("jpeg RGB");
    let thumbnail = [0xff, 0xe1, 0, 6, 0, 0, 0xff, 0xd9]; // an application segment with the end marker of another
    let with = [&whole[..2], &thumbnail, &whole[2..]].concat();
    assert_eq!(decode(&with), decode(&whole));
    assert_eq!(decode(&with[..with.len() - 2]).unwrap_err(), "it is truncated: the end marker is missing");
}
