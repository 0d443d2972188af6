"""Whole networks of timm, their weights and what they compute, for the tests of ../published.rs that are not run by default.

    python vit.py FOLDER DINOV2.safetensors        needs: pip install torch timm safetensors
    TIMM_NETWORKS=FOLDER cargo test --test msharp timms -- --ignored

DINOV2.safetensors is a published ViT-S/14 of DINOv2 under the names of timm's vit_small_patch14_dinov2, with positions of
37×37 patches, as `timm.create_model("vit_small_patch14_dinov2", pretrained=True)` loads it. FOLDER gets

    vit_small_patch14_dinov2.safetensors       these weights
    vit_small_patch14_dinov2-SIZE.safetensors  `input` [2, 3, SIZE, SIZE], and `expected`, all final tokens; SIZE is 224 and
                                               98, with positions that timm has resampled
    NAME.safetensors, NAME-224.safetensors     for vit_base_patch16_224 and resnet50 as timm initialises them (every block
                                               of the ResNet at work, zero_init_last=False): weights; `input`, and
                                               `expected`, the logits

All in float32, on the CPU. The tests that are always run compare small networks, gradients too:
../../crates/models/tests/fixtures/make.py.
"""

import pathlib
import sys

import timm
import torch
from safetensors.torch import load_file, save_file
from timm.models.vision_transformer import checkpoint_filter_fn

folder, dinov2 = pathlib.Path(sys.argv[1]), load_file(sys.argv[2])
folder.mkdir(parents=True, exist_ok=True)


def contiguous(tensors):
    return {name: tensor.detach().clone().contiguous() for name, tensor in tensors.items()}


def answers(name, size, compute):
    x = torch.randn(2, 3, size, size, generator=torch.Generator().manual_seed(size))
    with torch.no_grad():
        expected = compute(x)
    save_file(contiguous({"input": x, "expected": expected}), folder / f"{name}-{size}.safetensors")
    print(name, size, list(expected.shape), "up to", expected.abs().max().item())


name = "vit_small_patch14_dinov2"
save_file(contiguous(dinov2), folder / f"{name}.safetensors")
for size in [224, 98]:
    model = timm.create_model(name, img_size=size, num_classes=0).eval()
    model.load_state_dict(checkpoint_filter_fn(dict(dinov2), model))
    answers(name, size, model.forward_features)
for name, settings in [("vit_base_patch16_224", {}), ("resnet50", {"zero_init_last": False})]:
    torch.manual_seed(0)
    model = timm.create_model(name, **settings)
    with torch.no_grad():
        model.train()(torch.randn(8, 3, 224, 224))  # running statistics that are not 0 and 1
    model.eval()
    save_file(contiguous(model.state_dict()), folder / f"{name}.safetensors")
    answers(name, 224, model)
