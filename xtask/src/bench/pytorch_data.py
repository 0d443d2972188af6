"""Pictures per second of torchvision's ImageFolder and torch's DataLoader: prints a line of JSON for each recipe."""

import argparse
import json
import time

import PIL
import torch
import torchvision
from torch.utils.data import ConcatDataset, DataLoader
from torchvision.datasets import ImageFolder
from torchvision.transforms import CenterCrop, Compose, Normalize, RandomHorizontalFlip, RandomResizedCrop, Resize, ToTensor

NORMALISED = [ToTensor(), Normalize((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))]
RECIPES = {
    "train": lambda size: Compose([RandomResizedCrop(size), RandomHorizontalFlip(), *NORMALISED]),
    "eval": lambda size: Compose([Resize(int(size / 0.875)), CenterCrop(size), *NORMALISED]),
}


def pictures_per_second(args, recipe):
    folder = ImageFolder(args.folder, RECIPES[recipe](args.size))
    dataset = ConcatDataset([folder] * args.repeat)
    loader = DataLoader(
        dataset,
        batch_size=args.batch,
        shuffle=recipe == "train",
        num_workers=args.workers,
        persistent_workers=args.workers > 0,
    )
    seen = 0
    for epoch in range(2):  # the first starts the workers and reads the files once
        if epoch == 1:
            start, seen = time.perf_counter(), 0
        for images, _ in loader:
            seen += len(images)
    return seen / (time.perf_counter() - start)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--folder", required=True)
    for name in ["size", "batch", "workers", "repeat"]:
        parser.add_argument("--" + name, type=int, required=True)
    args = parser.parse_args()
    torch.set_num_threads(1)
    versions = f"torch {torch.__version__}, torchvision {torchvision.__version__}, Pillow {PIL.__version__}"
    for recipe in RECIPES:
        line = {"recipe": recipe, "per_s": pictures_per_second(args, recipe), "versions": versions}
        print(json.dumps(line), flush=True)


if __name__ == "__main__":
    main()
