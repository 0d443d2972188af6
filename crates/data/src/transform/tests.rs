//! What holds for the whole of a transform.

use super::*;
use crate::resize::tests::noise;

fn every_step() -> Transform {
    Transform {
        rand_augment: Some(RandAugment::default()),
        color_jitter: Some(ColorJitter { brightness: 0.4, contrast: 0.4, saturation: 0.4, hue: 0.1 }),
        random_erasing: Some(RandomErasing::default()),
        ..Transform::imagenet_train(16)
    }
}

#[test]
fn the_result_is_a_pure_function_of_the_key() -> candle_core::Result<()> {
    let (transform, picture) = (every_step(), noise(30, 20, 1));
    let drawn: Vec<Vec<f32>> =
        (0..20).map(|i| transform.apply(&picture, Key::new(i))).collect::<candle_core::Result<_>>()?;
    for (i, values) in drawn.iter().enumerate() {
        assert_eq!(*values, transform.apply(&picture, Key::new(i as u64))?);
        assert!(values.len() == 16 * 16 * 3 && values.iter().all(|value| value.is_finite()));
        assert!(drawn[..i].iter().all(|other| other != values));
    }
    Ok(())
}

#[test]
fn turning_a_step_off_leaves_the_draws_of_the_others() -> candle_core::Result<()> {
    let picture = noise(30, 20, 1);
    let without_colours = Transform { rand_augment: None, color_jitter: None, ..every_step() };
    let cropped = Transform { random_erasing: None, ..without_colours.clone() };
    let mut erased = 0;
    for i in 0..20 {
        let key = Key::new(i);
        let same = without_colours.apply(&picture, key)?;
        let whole = cropped.apply(&picture, key)?;
        erased += usize::from(same != whole);
        assert!(same.iter().zip(&whole).all(|(a, b)| a == b || *a == 0.));
        let all = every_step().bytes(&picture, key)?;
        assert_eq!(all.erased, without_colours.bytes(&picture, key)?.erased);
    }
    assert!((4..=16).contains(&erased), "{erased}");
    Ok(())
}

#[test]
fn a_flip_mirrors_the_same_crop() -> candle_core::Result<()> {
    let picture = noise(30, 20, 1);
    let plain = Transform { flip: 0., ..Transform::imagenet_train(8) };
    let flipped = Transform { flip: 1., ..plain.clone() };
    for i in 0..20 {
        let (a, b) = (plain.picture(&picture, Key::new(i))?, flipped.picture(&picture, Key::new(i))?);
        let pairs = a.pixels.chunks(24).zip(b.pixels.chunks(24));
        pairs.for_each(|(a, b)| assert!(a.chunks(3).eq(b.rchunks(3))));
    }
    Ok(())
}

#[test]
fn evaluation_does_not_depend_on_the_key_and_is_normalised() -> candle_core::Result<()> {
    let picture = Picture { height: 5, width: 9, pixels: [255, 0, 51].repeat(45) };
    for eval in [Transform::imagenet_eval(4, 0.875), Transform::cifar_eval(4)] {
        let eval = Transform { mean: [0.5, 0.25, 0.1], std: [0.25, 0.5, 0.1], ..eval };
        let values = eval.apply(&picture, Key::new(0))?;
        assert_eq!(values, eval.apply(&picture, Key::new(1))?);
        for (value, expected) in values.iter().zip([2., -0.5, 1.].into_iter().cycle()) {
            assert!((value - expected).abs() < 1e-6, "{value} {expected}");
        }
    }
    Ok(())
}

#[test]
fn small_pictures_are_cropped_from_a_black_padding() -> candle_core::Result<()> {
    let picture = Picture { height: 16, width: 16, pixels: vec![255; 16 * 16 * 3] };
    let train = Transform { flip: 0., ..Transform::cifar_train(16) }; // a padding of 2
    let mut counts = [0; 25];
    for i in 0..2500 {
        let shown = train.picture(&picture, Key::new(i))?.pixels;
        let column = |x: usize| (0..16).all(|y| shown[(y * 16 + x) * 3] == 0);
        let row = |y: usize| shown[y * 48..][..48].iter().all(|&byte| byte == 0);
        let across = [column(0), column(1), column(14), column(15)].map(usize::from);
        let down = [row(0), row(1), row(14), row(15)].map(usize::from);
        let shift = |[a, b, c, d]: [usize; 4]| 2 + a + b - c - d;
        counts[shift(down) * 5 + shift(across)] += 1;
    }
    assert!(counts.iter().all(|n| (60..145).contains(n)), "{counts:?}"); // 100 each, standard deviation 10
    Ok(())
}

#[test]
fn a_field_out_of_its_range_is_named() {
    let plain = || Transform::imagenet_train(16);
    let jitter = ColorJitter::default();
    let erasing = RandomErasing::default();
    let crop = |scale, ratio| Transform { crop: Crop::RandomResized { scale, ratio }, ..plain() };
    let augment = |augment| Transform { rand_augment: Some(augment), ..plain() };
    let bins = RandAugment::default();
    for (transform, expected) in [
        (Transform { size: 0, ..plain() }, "size is 0, expected 1 to 4096"),
        (Transform { size: 4097, ..plain() }, "size is 4097"),
        (Transform { flip: 1.5, ..plain() }, "flip is 1.5, expected a probability"),
        (Transform { mean: [0., f32::NAN, 0.], ..plain() }, "mean is"),
        (Transform { std: [1., 1., 0.], ..plain() }, "numbers above 0"),
        (crop((0., 1.), (1., 1.)), "scale is 0 to 1"),
        (crop((0.5, 0.4), (1., 1.)), "scale is 0.5 to 0.4"),
        (crop((0.1, 1.), (f64::NAN, 1.)), "ratio is NaN to 1"),
        (Transform::imagenet_eval(16, 1.1), "crop_pct is 1.1"),
        (Transform::imagenet_eval(16, 0.), "crop_pct is 0"),
        (Transform { crop: Crop::Padded { pad: 17 }, ..plain() }, "pad is 17, expected at most the size, 16"),
        (augment(RandAugment { magnitude: 31, ..bins }), "magnitude is 31, expected below num_magnitude_bins, 31"),
        (augment(RandAugment { num_magnitude_bins: 1, ..bins }), "num_magnitude_bins is 1"),
        (augment(RandAugment { num_ops: 101, ..bins }), "num_ops is 101"),
        (Transform { color_jitter: Some(ColorJitter { contrast: -1., ..jitter }), ..plain() }, "contrast is -1"),
        (Transform { color_jitter: Some(ColorJitter { hue: 0.6, ..jitter }), ..plain() }, "hue is 0.6"),
        (
            Transform { random_erasing: Some(RandomErasing { p: -0.1, ..erasing }), ..plain() },
            "p of the random erasing",
        ),
        (Transform { random_erasing: Some(RandomErasing { ratio: (0., 1.), ..erasing }), ..plain() }, "ratio of the"),
    ] {
        let error = transform.apply(&noise(4, 4, 0), Key::new(0)).unwrap_err().to_string();
        assert!(error.contains(expected), "{error}");
    }
    let torn = Picture { height: 4, width: 4, pixels: vec![0; 47] };
    assert!(plain().apply(&torn, Key::new(0)).unwrap_err().to_string().contains("47 bytes"));
}
