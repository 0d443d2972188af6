//! Parameter counts as published, names, shapes and dtypes as in PyTorch's state dicts, initialisation as in the
//! papers.

use crate::recorder::{Asked, asked, count};
use crate::{fixture, row};
use candle_core::DType;
use candle_nn::Init;
use candle_nn::init::{FanInOut, NonLinearity, NormalOrUniform};
use msharp_models::*;

fn of(architecture: &str, norm: Norm, classes: usize) -> Vec<Asked> {
    let architecture: Architecture = architecture.parse().unwrap();
    asked(|vb| architecture.build(norm, classes, vb))
}

#[test]
fn the_counts_are_the_published_ones() {
    let counts = [
        // Not published: stem 464, stages 4,672 + 14,528 + 57,728, classifier 650.
        ("resnet8", 10, 78_042),
        ("resnet20", 10, 272_474),
        ("resnet18", 10, 11_173_962),
        ("resnet18", 100, 11_220_132),
        ("resnet34", 10, 21_282_122),
        ("resnet50", 10, 23_520_842),
        ("wrn-10-1", 10, 77_850),
        ("wrn-16-4", 10, 2_748_890),
        ("wrn-28-10", 10, 36_479_194),
        ("wrn-28-10", 100, 36_536_884),
    ];
    for (name, classes, published) in counts {
        assert_eq!(count(&of(name, Norm::Batch, classes)), published, "{name}, {classes} classes");
        assert_eq!(count(&of(name, Norm::Group(32), classes)), published, "{name}, {classes} classes, group norm");
    }
    // With 1,000 classes timm prints 5.7, 22.1 and 86.6 million for those with patches of 16.
    let vits = [
        ("vit-mini", 1_205_898),
        ("vit_tiny_patch16_224", 5_526_346),
        ("vit_small_patch16_224", 21_669_514),
        ("vit_base_patch16_224", 85_806_346),
        ("vit_small_patch14_dinov2", 22_060_042),
        ("vit_base_patch14_dinov2", 86_587_402),
    ];
    for (name, count_of_10) in vits {
        assert_eq!(count(&of(name, Norm::Batch, 10)), count_of_10, "{name}");
    }
    let resnets = ["resnet18-imagenet", "resnet34-imagenet", "resnet50-imagenet"];
    let counts = resnets.map(|name| count(&of(name, Norm::Batch, 1000)));
    assert_eq!(counts, [11_689_512, 21_797_672, 25_557_032]);
}

#[test]
fn names_shapes_and_dtypes_are_pytorchs() {
    let cases = [
        ("resnet18.txt", of("resnet18", Norm::Batch, 10)),
        ("resnet18_group.txt", of("resnet18", Norm::Group(32), 10)),
        ("resnet34.txt", of("resnet34", Norm::Batch, 10)),
        ("resnet50.txt", of("resnet50", Norm::Batch, 10)),
        ("resnet18_imagenet.txt", of("resnet18-imagenet", Norm::Batch, 1000)),
        ("resnet34_imagenet.txt", of("resnet34-imagenet", Norm::Batch, 1000)),
        ("resnet50_imagenet.txt", of("resnet50-imagenet", Norm::Batch, 1000)),
        ("resnet20.txt", of("resnet20", Norm::Batch, 10)),
        ("wrn_16_4.txt", of("wrn-16-4", Norm::Batch, 10)),
        ("wrn_28_10.txt", of("wrn-28-10", Norm::Batch, 10)),
        ("vit_mini.txt", of("vit-mini", Norm::Batch, 10)),
        ("vit_tiny.txt", of("vit_tiny_patch16_224", Norm::Batch, 10)),
        ("vit_small.txt", of("vit_small_patch16_224", Norm::Batch, 10)),
        ("vit_base.txt", of("vit_base_patch16_224", Norm::Batch, 10)),
        ("vit_small_dinov2.txt", of("vit_small_patch14_dinov2", Norm::Batch, 10)),
        ("vit_base_dinov2.txt", of("vit_base_patch14_dinov2", Norm::Batch, 10)),
    ];
    for (file, asked) in cases {
        let rows: Vec<String> = asked.iter().map(|a| row(&a.name, a.dtype, a.shape.dims())).collect();
        let theirs = std::fs::read_to_string(fixture(file)).unwrap();
        assert_eq!(rows, theirs.lines().collect::<Vec<_>>(), "{file}");
    }
}

#[test]
fn initialisation_is_the_papers() {
    for (name, fan_in) in [("resnet50", 2048f64), ("wrn-16-4", 256.)] {
        let bound = 1. / fan_in.sqrt();
        for asked in of(name, Norm::Batch, 10) {
            let (_, last) = asked.name.rsplit_once('.').unwrap();
            let expected = match (asked.shape.rank(), last) {
                (4, "weight") => Init::Kaiming {
                    dist: NormalOrUniform::Normal,
                    fan: FanInOut::FanOut,
                    non_linearity: NonLinearity::ReLU,
                },
                (2, "weight") => Init::Uniform { lo: -bound, up: bound },
                (1, "bias") if asked.name == "fc.bias" && name == "resnet50" => Init::Uniform { lo: -bound, up: bound },
                (1, "weight" | "running_var") => Init::Const(1.),
                (1, "bias" | "running_mean") | (0, "num_batches_tracked") => Init::Const(0.),
                _ => panic!("{name} asks for {asked:?}"),
            };
            assert_eq!(format!("{:?}", asked.init), format!("{expected:?}"), "{name}, {}", asked.name);
            assert_eq!(asked.dtype == DType::I64, last == "num_batches_tracked");
        }
    }
}

#[test]
fn a_vision_transformers_initialisation_is_timms() {
    for asked in of("vit_small_patch14_dinov2", Norm::Batch, 10) {
        let bound = 1. / ((3 * 14 * 14) as f64).sqrt();
        let expected = match (asked.name.as_str(), asked.shape.rank()) {
            ("cls_token", _) => Init::Randn { mean: 0., stdev: 1e-6 },
            (name, _) if name.starts_with("patch_embed") => Init::Uniform { lo: -bound, up: bound },
            ("pos_embed", _) | (_, 2) => Init::Randn { mean: 0., stdev: 0.02 },
            (name, _) if name.ends_with("weight") => Init::Const(1.),
            (name, _) if name.ends_with("gamma") => Init::Const(1e-5),
            _ => Init::Const(0.),
        };
        assert_eq!(format!("{:?}", asked.init), format!("{expected:?}"), "{}", asked.name);
    }
}
