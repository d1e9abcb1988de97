"""Folders that doors without code read in benchmarks/matrix.py: digits as pictures, and Hugging Face directories of untrained nets."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import torch
from PIL import Image
from sklearn.datasets import load_digits

SIDE = 32
NORMALISED = {"do_resize": True, "do_rescale": True, "do_normalize": True, "rescale_factor": 1 / 255, "resample": 2}
PROCESSOR = NORMALISED | {
    "image_processor_type": "ViTImageProcessor",
    "size": {"height": SIDE, "width": SIDE},
    "image_mean": [0.5] * 3,
    "image_std": [0.5] * 3,
}


def digits(folder: Path) -> None:
    """scikit-learn's 1,797 digits as PNGs of 32x32, a folder a digit."""
    data = load_digits()
    for number, (image, label) in enumerate(zip(data.images, data.target, strict=True)):
        path = folder / "photos" / str(label) / f"{number:04}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray((image * (255 / 16)).astype(np.uint8)).resize((SIDE, SIDE), Image.Resampling.BICUBIC).save(path)


def vit(folder: Path) -> None:
    """A ViT of four layers, as save_pretrained writes it."""
    from slimline.workloads.huggingface import offline  # noqa: F401 - before transformers

    from transformers import ViTConfig, ViTForImageClassification  # isort: skip

    digits(folder)
    shape = {"hidden_size": 64, "num_hidden_layers": 4, "num_attention_heads": 4, "intermediate_size": 128}
    _saved(folder / "net", ViTForImageClassification, ViTConfig(**shape, image_size=SIDE, patch_size=8, num_labels=10))


def resnet(folder: Path) -> None:
    """A ResNet of three stages, as save_pretrained writes it."""
    from slimline.workloads.huggingface import offline  # noqa: F401 - before transformers

    from transformers import ResNetConfig, ResNetForImageClassification  # isort: skip

    digits(folder)
    shape = {"embedding_size": 16, "hidden_sizes": [16, 32, 64], "depths": [2, 2, 2], "layer_type": "basic"}
    _saved(folder / "net", ResNetForImageClassification, ResNetConfig(**shape, num_labels=10))


def _saved(folder: Path, kind: Any, config: Any) -> None:
    torch.manual_seed(0)
    kind(config).save_pretrained(folder)
    (folder / "preprocessor_config.json").write_text(json.dumps(PROCESSOR))
