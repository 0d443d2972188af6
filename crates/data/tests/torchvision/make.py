#!/usr/bin/env python3
"""What torchvision makes of small pictures, on Pillow's images: writes transforms.json beside this file.

    python make.py

Needs torch, torchvision, numpy and a Pillow below 13: from 13 on it resizes vertically first where the height shrinks much
more than the width, which moves some bytes by a grey level; checkpoints were trained with the older ones. Pixels are hexadecimal, row by row, red, green, blue. A case has the index
of its picture, what is done, and the pixels afterwards.
"""

import json
import math
from pathlib import Path

import numpy as np
import PIL
import torch
import torchvision
from PIL import Image
from torchvision.transforms import CenterCrop, Compose, InterpolationMode, RandAugment, Resize
from torchvision.transforms import functional as F
from torchvision.transforms.autoaugment import _apply_op

MODES = {"bilinear": InterpolationMode.BILINEAR, "bicubic": InterpolationMode.BICUBIC}


def pictures():
    rng = np.random.default_rng(16)
    noise = rng.integers(0, 256, (9, 13, 3), dtype=np.uint8)
    y, x = np.mgrid[:20, :17]
    waves = np.stack([40 + 60 * np.sin(x / 3) ** 2, 90 + 5 * y, 200 - 7 * np.abs(x - y)], axis=-1)
    texture = np.clip(waves + rng.normal(0, 12, waves.shape), 0, 255).astype(np.uint8)
    return [Image.fromarray(noise), Image.fromarray(texture)]


def shown(picture):
    return {"height": picture.height, "width": picture.width, "pixels": picture.tobytes().hex()}


def resizings(images):
    for index, image in enumerate(images):
        for size in [(5, 7), (7, 5), (18, 20), (image.height, 30), (3, image.width), (1, 1)]:
            for name, mode in MODES.items():
                yield {"picture": index, "interpolation": name, **shown(F.resize(image, list(size), mode))}


def evaluations(images):
    for index, image in enumerate(images):
        for size, crop_pct in [(8, 0.875), (8, 1.0), (15, 0.9)]:
            for name, mode in MODES.items():
                steps = Compose([Resize(math.floor(size / crop_pct), mode), CenterCrop(size)])
                yield {"picture": index, "interpolation": name, "crop_pct": crop_pct, **shown(steps(image))}


def operations(images):
    adjustments = {
        "Brightness": (F.adjust_brightness, [0.0, 0.3, 1.0, 1.73]),
        "Contrast": (F.adjust_contrast, [0.0, 0.45, 1.0, 1.9]),
        "Saturation": (F.adjust_saturation, [0.0, 0.61, 1.0, 1.5]),
        "Sharpness": (F.adjust_sharpness, [0.0, 0.5, 1.0, 1.9]),
        "Hue": (F.adjust_hue, [-0.5, -0.1, -0.003, 0.0, 0.03, 0.25, 0.5]),
    }
    for index, image in [(1, images[1])]:
        for name, (adjust, factors) in adjustments.items():
            for factor in factors:
                yield {"picture": index, "name": name, "factor": factor, **shown(adjust(image, factor))}


def augmentations(images):
    augment = RandAugment()
    for index, image in [(1, images[1])]:
        space = augment._augmentation_space(augment.num_magnitude_bins, (image.height, image.width))
        for place, (name, (magnitudes, signed)) in enumerate(space.items()):
            for magnitude in [0, 9, 30] if magnitudes.ndim > 0 else [9]:
                for sign in [1, -1] if signed else [1]:
                    value = sign * float(magnitudes[magnitude]) if magnitudes.ndim > 0 else 0.0
                    changed = _apply_op(image, name, value, InterpolationMode.NEAREST, None)
                    at = {"place": place, "name": name, "magnitude": magnitude, "negative": sign < 0}
                    yield {"picture": index, **at, **shown(changed)}


def main():
    if int(PIL.__version__.split(".")[0]) >= 13:
        raise SystemExit(f"Pillow is {PIL.__version__}, expected a version below 13")
    images = pictures()
    cases = {
        "versions": {"torch": torch.__version__, "torchvision": torchvision.__version__, "pillow": PIL.__version__},
        "pictures": [shown(image) for image in images],
        "resizings": list(resizings(images)),
        "evaluations": list(evaluations(images)),
        "operations": list(operations(images)),
        "augmentations": list(augmentations(images)),
    }
    lines = [f"{json.dumps(name)}: {json.dumps(value)}" for name, value in cases.items()]
    Path(__file__).with_name("transforms.json").write_text("{" + ",\n".join(lines) + "}\n")


if __name__ == "__main__":
    main()
