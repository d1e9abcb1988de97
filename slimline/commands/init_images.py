"""What `slimline init` says and writes of a folder of pictures."""

from collections import Counter
from pathlib import Path
from statistics import median
from typing import Any

from slimline.commands.init_huggingface import model_line, suggested
from slimline.commands.looked import Looked, asked, honest_margin, inline, params_text, shown_drop, told_power, told_splits
from slimline.commands.raw_files import TABLES
from slimline.errors import InputError
from slimline.params import DataParams
from slimline.workloads.huggingface.directory import is_directory
from slimline.workloads.images import cut_pictures, found_in, usual_side
from slimline.workloads.listed import path_column
from slimline.workloads.pictures import Found

WHOLE = 0.98
"""The share of a picture that is seen, from which a crop is no loss."""
MANY = 20_000
"""Pictures from which a tenth of them is test enough."""
SMALL_WIDTHS, STUDENT_WIDTHS = [16, 32, 64, 128], [8, 16, 32, 64]


def look_at_images(path: Path, model: str, root: Path = Path(), target: str | None = None) -> Looked:
    """The findings and the params.yaml for a folder of pictures; with `target` their classes stand in a table in it.

    Raises:
        InputError: there is no such table, or several.
        DataError: the folder cannot be learned from; all reasons together.
        ArtifactError: the net's directory is refused.
    """
    listed: dict[str, Any] = {} if target is None else {**_table_in(path), "target": target}
    found = found_in(DataParams(path=str(path), **listed))
    count, side = len(found.pictures), usual_side(found.pictures)
    test = 0.3 if count < MANY else 0.1
    options = DataParams(path=str(path), **listed, image_size=side, test_fraction=test, calibration_samples=min(256, count // 8))
    splits = {split: len(pictures) for split, pictures in cut_pictures(found, options, 0).items()}
    margin = honest_margin(splits["test"])
    facts = {
        "workload": "images",
        "pictures": count,
        "classes": dict(Counter(picture.label for picture in found.pictures)),
        "duplicates": found.duplicates,
        "splits": splits,
        "image_size": side,
        "shown_drop": shown_drop(splits["test"]),
        "max_drop": margin,
    }
    scaled = f"the image processor of {model} scales them" if is_directory(model) else _scaled(found, side)
    lines = _lines(path, found, splits, scaled)
    return Looked(tuple(lines), facts, _text(path, model, options, margin, root))


def _table_in(folder: Path) -> dict[str, str]:
    """The folder's one table that lists pictures, and its column of paths.

    Raises:
        InputError: there is none, or there are several.
    """
    columns = {path.name: path_column(folder, path) for path in sorted(folder.iterdir()) if path.suffix.lower() in TABLES}
    found = {name: column for name, column in columns.items() if column is not None}
    if len(found) != 1:
        there = f"{len(found)} such tables ({', '.join(found)})" if found else "none"
        raise InputError(f"{folder}: --target asks for one .csv or .parquet in it with a column of picture paths; there is {there}")
    ((name, column),) = found.items()
    return {"table": name, "image": column}


def _scaled(found: Found, side: int) -> str:
    """How they are made of one size, and what is lost of them by it."""
    seen = sum(min(picture.size) / max(picture.size) for picture in found.pictures) / len(found.pictures)
    cropped = f" and cropped to their middle, {100 * seen:.0f} % of a picture on average" if seen < WHOLE else ""
    return f"they are scaled to {side}x{side}{cropped}"


def _lines(path: Path, found: Found, splits: dict[str, int], scaled: str) -> list[str]:
    counts = Counter(picture.label for picture in found.pictures)
    (most, largest), (least, smallest) = counts.most_common(1)[0], counts.most_common()[-1]
    there = [split for split in splits if any(picture.split == split for picture in found.pictures)]
    widths, heights = ([picture.size[axis] for picture in found.pictures] for axis in (0, 1))
    spread = f"{min(widths)}x{min(heights)} to {max(widths)}x{max(heights)}, median {median(widths):g}x{median(heights):g}"
    lines = [
        f"{path}: {len(found.pictures):,} pictures in {len(counts)} classes, from {smallest:,} ({least}) to {largest:,} ({most})",
        f"sizes {spread}; {scaled}",
        told_splits(splits) + (f" ({', '.join(there)} as the folders say)" if there else ""),
        told_power(splits["test"]),
    ]
    if found.duplicates:
        lines.insert(1, f"{found.duplicates:,} pictures are there more than once; one of each is taken")
    return lines


def _text(path: Path, model: str, options: DataParams, margin: float, root: Path) -> str:
    is_ours = model == "default"
    calibration = options.calibration_samples
    listed = "".join(f"{key}: {inline(value)}, " for key in ("table", "image", "target") if (value := getattr(options, key)))
    size = "" if is_directory(model) else f"image_size: {options.image_size}, "
    data = (
        f"data: {{path: {inline(str(path))}, {listed}{size}test_fraction: {options.test_fraction}, "
        f"validation_fraction: 0.1, calibration_samples: {calibration}, min_class_share: 0.001}}"
    )
    gate = f"gate: {{metric: accuracy, max_drop: {margin:g}, {asked()}}}"
    if is_directory(model):
        net, sections, names = suggested(model, root, calibration)
        return params_text("images", data, net, sections, gate, list(names))
    config = f", config: {{widths: {SMALL_WIDTHS}}}" if is_ours else ""
    net = model_line(model).removesuffix("}") + f"{config}}}"
    small = (
        f"small: {{source: teacher, method: soft_targets, student: {{widths: {STUDENT_WIDTHS}}}, temperature: 4, alpha: 0.3, epochs: 15}}"
    )
    distill = f"\n  {small}" if is_ours else " {}"
    sections = f"""teacher: {{source: train, epochs: 15, batch_size: 64, learning_rate: 0.003, patience: 5, threads: 2}}
calibrate: {{samples: {calibration}, batch_size: 32}}

prune:
  # Half of the channels, trained again for a few epochs: smaller and faster on every runtime.
  channels50: {{source: teacher, method: channels, ratio: 0.5, round_to: 8, recover: {{epochs: 6, threads: 2}}}}
quantize:
  # Int8 weights and activations: four times smaller, faster where the runtime has the kernels.
  int8: {{source: teacher, method: static}}
  channels50-int8: {{source: channels50, method: static}}
factorize: {{}}
# A narrower net that learns from the teacher's answers.
distill:{distill}
"""
    variants = ["channels50", "int8", "channels50-int8", *(["small"] if is_ours else [])]
    return params_text("images", data, net, sections, gate, variants)
