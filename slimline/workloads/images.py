"""`images`: a folder of pictures, a folder a class or with a table of their classes, without code."""

from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Literal

import numpy as np

from slimline.data.preprocessing import Pictures, fitted, upright
from slimline.data.table import GROUP, Source, Table
from slimline.errors import DataError
from slimline.objectives.classification import classification
from slimline.objectives.described import described
from slimline.params import DataParams
from slimline.workloads.facts import Facts
from slimline.workloads.listed import find_listed
from slimline.workloads.pictures import Found, Picture, encoded, find_pictures

COLUMN = "image"
LARGEST_SIDE, SIDE_STEP = 224, 8
MEASURED = 2_000
"""Training pictures whose mean and scale are taken."""


class Images:
    """The door `images`; `path` is a folder with a folder a class, or with train, validation and test that hold such, or with a table."""

    def __init__(self, options: DataParams) -> None:
        self.options = options
        self.found: Found | None = None

    def splits(self, seed: int) -> Mapping[str, Source]:
        """The pictures as they are in their files, cut by class where the folder does not say how."""
        self.found = found_in(self.options)
        groups = cut_pictures(self.found, self.options, seed)
        labels = self.found.labels
        return {split: encoded(pictures, labels) for split, pictures in groups.items()}

    def facts(self, train: Table) -> Facts:
        """Size and normalisation, from the training pictures."""
        found = self.found
        assert found is not None
        mode: Literal["L", "RGB"] = "L" if all(picture.mode in ("L", "1", "I;16", "LA") for picture in found.pictures) else "RGB"
        side = self.options.image_size or usual_side(found.pictures)
        mean, scale = normalisation(train, side, mode)
        preprocessing = Pictures(column=COLUMN, height=side, width=side, mode=mode, mean=mean, scale=scale)
        known = {"labels": found.labels, "pictures": len(found.pictures), "duplicates": found.duplicates}
        return Facts(preprocessing=preprocessing, objective=described(classification(found.labels)), outputs=len(found.labels), found=known)


def found_in(options: DataParams) -> Found:
    """The pictures that the folder, or the table in it, names.

    Raises:
        DataError: they cannot be learned from; all reasons together.
    """
    folder = Path(options.path)
    return find_pictures(folder) if options.table is None else find_listed(folder, options.table, options.image, options.target)


def usual_side(pictures: Sequence[Picture]) -> int:
    """The median of the shorter sides, to a multiple of 8, at most 224."""
    median = float(np.median([min(picture.size) for picture in pictures]))
    return int(min(max(round(median / SIDE_STEP), 1) * SIDE_STEP, LARGEST_SIDE))


def normalisation(train: Table, side: int, mode: str) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Mean and standard deviation of each channel over some training pictures, of values from 0 to 1."""
    sums, seen = np.zeros((2, len(mode)), np.int64), min(len(train), MEASURED)
    for start in range(0, seen, GROUP):
        for picture in train.rows(slice(start, min(start + GROUP, seen)))[COLUMN]:
            pixels = np.asarray(fitted(upright(picture, mode), side, side), dtype=np.int64).reshape(-1, len(mode))
            sums += pixels.sum(0), (pixels**2).sum(0)
    mean, square = sums / (seen * side * side) / [[255], [255**2]]
    scale = np.sqrt(np.maximum(square - mean**2, 1e-6))
    return tuple(round(float(value), 4) for value in mean), tuple(round(max(float(value), 0.01), 4) for value in scale)


def cut_pictures(found: Found, options: DataParams, seed: int) -> dict[str, list[Picture]]:
    """The pictures of each split; what the folder says is kept, what it leaves open is cut by class.

    Raises:
        DataError: a split would lack a class, or too little would be left to train on.
    """
    pools: dict[str, list[Picture]] = {"train": [], "validation": [], "calibration": [], "test": []}
    for picture in found.pictures:
        pools[picture.split or "train"].append(picture)
    sizes = {"test": options.test_fraction, "validation": options.validation_fraction}
    for split, share in sizes.items():
        if not pools[split]:
            pools["train"], pools[split] = _parted(pools["train"], round(share * len(found.pictures)), seed)
    calibration = min(options.calibration_samples, len(pools["train"]) // 4)
    pools["train"], pools["calibration"] = _parted(pools["train"], calibration, seed)
    for split, pictures in pools.items():
        counts = Counter(picture.label for picture in pictures)
        if lacking := [label for label in found.labels if not counts[label]]:
            if any(picture.split == split for picture in pictures):
                raise DataError(
                    f"params.yaml: data.path: the folder of {split} holds no picture of class {lacking[0]!r}, which another has; "
                    "add some there, or take the class out"
                )
            raise DataError(
                f"params.yaml: data: the split {split} would hold no picture of class {lacking[0]!r}; raise its share, or give more"
            )
    return pools


def _parted(pictures: list[Picture], count: int, seed: int) -> tuple[list[Picture], list[Picture]]:
    """So many pictures taken out, the same share of each class (at least one), in the order of their paths."""
    draw, taken = np.random.default_rng(seed), set()
    by_label: dict[str, list[Picture]] = {}
    for picture in pictures:
        by_label.setdefault(picture.label, []).append(picture)
    for group in by_label.values():
        wanted = max(1, round(count * len(group) / len(pictures)))
        taken |= {group[place].content for place in draw.permutation(len(group))[:wanted]}
    return [one for one in pictures if one.content not in taken], [one for one in pictures if one.content in taken]
