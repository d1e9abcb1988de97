"""How a directory's image processor makes pixels of a picture, as a preprocessing: the same numbers without transformers."""

from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from PIL import Image

from slimline.artifact.border import told_as
from slimline.data.preprocessing import Pictures
from slimline.errors import ArtifactError
from slimline.workloads.huggingface import offline  # noqa: F401 - before transformers

from transformers import AutoImageProcessor  # isort: skip

PROCESSOR = "preprocessor_config.json"
INPUT = "pixel_values"
TRIED = ((61, 40), (40, 61), (300, 420), (640, 480))
"""Sizes of the pictures that both are held together on."""
TOLERANCE = 1e-5
WARPED = 384
"""From this side on a ConvNeXT processor scales and does not crop."""


def pictures_of(folder: Path, column: str, channels: int) -> Pictures:
    """The directory's processor as a preprocessing of pictures with so many channels.

    Raises:
        ArtifactError: there is none, or it does something else than to scale, crop and normalise.
    """
    if not (folder / PROCESSOR).is_file():
        raise ArtifactError(f"{folder}: holds no {PROCESSOR}, which says how pictures become pixels; save the processor beside the model")
    with told_as(lambda reason: ArtifactError(f"{folder / PROCESSOR}: is no image processor of transformers: {reason}")):
        processor = AutoImageProcessor.from_pretrained(folder, local_files_only=True, trust_remote_code=False)
        found = _translated(processor, column, channels)
    for place, size in enumerate(TRIED):
        _require_equal(folder, processor, found, _noise(size, found.mode, place))
    return found


def _translated(processor: Any, column: str, channels: int) -> Pictures:
    fit, edge, (height, width) = _scaling(processor)
    factor = 255 * (processor.rescale_factor if processor.do_rescale else 1.0)
    mean = np.broadcast_to(processor.image_mean if processor.do_normalize else 0.0, channels) / factor
    scale = np.broadcast_to(processor.image_std if processor.do_normalize else 1.0, channels) / factor
    resample = Image.Resampling(int(processor.resample if processor.resample is not None else Image.Resampling.BILINEAR)).name.lower()
    return Pictures(
        column=column,
        input=INPUT,
        height=height,
        width=width,
        fit=fit,
        edge=edge,
        resample=resample,
        mode="L" if channels == 1 else "RGB",
        mean=tuple(mean.tolist()),
        scale=tuple(scale.tolist()),
    )


def _scaling(processor: Any) -> tuple[Any, int | None, tuple[int, int]]:
    """How a picture is scaled, the side that it is scaled to, and the height and width that are left."""
    crop = _sides(getattr(processor, "crop_size", None)) if getattr(processor, "do_center_crop", None) else None
    size = dict(processor.size or {}) if processor.do_resize else {}
    if size.get("longest_edge") or size.get("max_height"):
        raise ValueError("it keeps each picture's own proportions; give a size of height and width, or a crop_size")
    if edge := size.get("shortest_edge"):
        if (share := getattr(processor, "crop_pct", None)) is not None:
            return ("stretch", edge, (edge, edge)) if edge >= WARPED else ("shorter", int(edge / share), (edge, edge))
        if crop is None:
            raise ValueError("it scales the shorter side and does not crop, so that pictures differ in size; give it a crop_size")
        return "shorter", edge, crop
    sides = _sides(size)
    if sides is None and crop is None:
        raise ValueError("it neither scales nor crops; give it a size")
    if sides is None:
        return "none", None, crop or (0, 0)
    if sides[0] != sides[1]:
        raise ValueError(f"it scales to {sides[0]} x {sides[1]}; sides of one length are taken")
    return "stretch", sides[0], crop or sides


def _sides(size: Any) -> tuple[int, int] | None:
    found = dict(size or {})
    return (int(found["height"]), int(found["width"])) if found.get("height") and found.get("width") else None


def _require_equal(folder: Path, processor: Any, found: Pictures, picture: Image.Image) -> None:
    """Hold both to the same pixels.

    Raises:
        ArtifactError: they differ.
    """
    with told_as(lambda reason: ArtifactError(f"{folder / PROCESSOR}: its processor does not run: {reason}")):
        theirs = np.asarray(processor(images=[picture], return_tensors="np")[INPUT], dtype=np.float64)
    ours: NDArray[Any] = found({found.column: [picture]})[INPUT]
    if theirs.shape != ours.shape or np.abs(theirs - ours).max() > TOLERANCE * max(1.0, float(np.abs(theirs).max())):
        raise ArtifactError(
            f"{folder / PROCESSOR}: {type(processor).__name__} does something else than to scale, crop and normalise, so that a release "
            "could not do the same without transformers; take a processor that does these alone"
        )


def _noise(size: tuple[int, int], mode: str, seed: int) -> Image.Image:
    width, height = size
    return Image.fromarray(np.random.default_rng(seed).integers(0, 256, (height, width, 3), dtype=np.uint8)).convert(mode)
