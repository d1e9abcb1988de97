"""What workloads in memory share: cutting a table into splits, and reading a student's one setting."""

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from slimline.errors import DataError, WorkloadError

if TYPE_CHECKING:
    import pandas as pd


def cut_table(table: "pd.DataFrame", sizes: Mapping[str, float], seed: int) -> "dict[str, pd.DataFrame]":
    """Cut a table into train, validation, calibration and test, stratified by `label`; no row is in two of them.

    Raises:
        DataError: a split would hold fewer samples than there are classes, or train would be smaller than 1/10.
    """
    from sklearn.model_selection import train_test_split

    rows, classes = len(table), table["label"].nunique()
    counts = {
        "test": round(sizes["test_fraction"] * rows),
        "validation": round(sizes["validation_fraction"] * rows),
        "calibration": round(sizes["calibration_samples"]),
    }
    left = rows - sum(counts.values())
    if left < rows / 10 or min(counts.values()) < classes:
        raise DataError(
            f"params.yaml: data: of {rows} samples of {classes} classes, {counts} leave {left} to train on; "
            "each split needs a sample a class, and train a tenth: make the fractions smaller"
        )
    splits, rest = {}, table
    for name, count in counts.items():
        rest, part = train_test_split(rest, test_size=count, stratify=rest["label"], random_state=seed)
        splits[name] = part.sort_index().reset_index(drop=True)
    return {"train": rest.sort_index().reset_index(drop=True), **splits}


def student_setting(config: Mapping[str, Any], name: str, default: tuple[int, ...]) -> tuple[int, ...]:
    """The one setting, a list of widths, that a student takes.

    Raises:
        WorkloadError: another key, or no list of positive whole numbers.
    """
    if unknown := sorted(set(config) - {name}):
        raise WorkloadError(f"unknown key {unknown[0]!r}; allowed: {name}")
    widths = config.get(name, default)
    if not isinstance(widths, list | tuple) or not widths or not all(type(width) is int and width > 0 for width in widths):
        raise WorkloadError(f"{name}: give a list of positive whole numbers such as {list(default)} (given: {widths!r})")
    return tuple(widths)
