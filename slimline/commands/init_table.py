"""What `slimline init` says and writes of a table."""

from collections import Counter
from pathlib import Path

import numpy as np

from slimline.commands.init_huggingface import model_line
from slimline.commands.looked import TEACH, Looked, asked, asked_metric, inline, params_text, told_power, told_splits
from slimline.errors import InputError
from slimline.params import DataParams
from slimline.workloads.records import TableFound, find_table, pieces
from slimline.workloads.table import SPLITS, cut_rows


def look_at_table(path: Path, target: str | None, drop: tuple[str, ...], model: str) -> Looked:
    """The findings and the params.yaml for a table.

    Raises:
        InputError: no target was named.
        DataError: the table cannot be learned from; all reasons together.
    """
    if target is None:
        columns = [str(name) for name in next(pieces(path)).columns]
        raise InputError(f"{path}: name the column to be told from the others: --target COLUMN, one of {', '.join(columns)}")
    found = find_table(path, target, drop, None)
    options = DataParams(path=str(path), target=target, task=found.task, drop=drop, calibration_samples=min(256, found.rows // 8))
    where = cut_rows(found, options, 0)
    splits = {split: int((where == place).sum()) for place, split in enumerate(SPLITS)}
    facts = {
        "workload": "table",
        "rows": found.rows,
        "task": found.task,
        "numbers": [column.name for column in found.columns if column.kind == "number"],
        "categories": {column.name: len(column.levels) for column in found.columns if column.kind == "category"},
        "missing": {column.name: column.missing for column in found.columns if column.missing},
        "duplicates": found.rows - len(set(found.contents.tolist())),
        "splits": splits,
    }
    return Looked(tuple(_lines(path, found, splits)), facts, _text(path, model, found, options.calibration_samples, splits["test"]))


def _lines(path: Path, found: TableFound, splits: dict[str, int]) -> list[str]:
    numbers = sum(column.kind == "number" for column in found.columns)
    categories = len(found.columns) - numbers
    lines = [f"{path}: {found.rows:,} rows, {numbers} columns of numbers and {categories} of categories; the target is {found.target!r}"]
    lines.append(told_target(found))
    if holes := ", ".join(f"{column.name} {column.missing:,}" for column in found.columns if column.missing):
        lines.append(f"missing: {holes}; numbers get the median, categories a level of their own")
    if same := found.rows - len(set(found.contents.tolist())):
        lines.append(f"{same:,} rows are equal to another but for the target; equal ones stand in one split")
    return [*lines, told_splits(splits), *([told_power(splits["test"])] if found.labels else [])]


def told_target(found: TableFound) -> str:
    """What is asked of a table's target, in a line."""
    if found.labels:
        counts = Counter(found.labels[index] for index in found.targets)
        commonest = ", ".join(f"{label} {count:,}" for label, count in counts.most_common(8))
        return f"classification of {len(counts)} classes: {commonest}"
    low, middle, high = np.quantile(found.targets, [0, 0.5, 1])
    return f"regression of numbers from {low:.4g} to {high:.4g}, median {middle:.4g}"


def _text(path: Path, model: str, found: TableFound, calibration: int, test: int) -> str:
    left_out = f", drop: {inline(list(drop))}" if (drop := _dropped(path, found)) else ""
    data = (
        f"data: {{path: {inline(str(path))}, target: {inline(found.target)}, task: {found.task}{left_out}, test_fraction: 0.3, "
        f"validation_fraction: 0.1, calibration_samples: {calibration}, min_class_share: 0.001}}"
    )
    is_ours = model == "default"
    small = "small: {source: teacher, method: soft_targets, student: {widths: [32, 16]}, temperature: 2, alpha: 0.3, epochs: 30}"
    distill = f"\n  {small}\n{TEACH}" if is_ours else " {}"
    sections = f"""teacher: {{source: train, epochs: 40, batch_size: 64, learning_rate: 0.003, patience: 8, threads: 2}}
calibrate: {{samples: {calibration}, batch_size: 32}}

prune:
  # Half of the hidden neurons, trained again for a few epochs.
  channels50: {{source: teacher, method: channels, ratio: 0.5, round_to: 8, recover: {{epochs: 10, threads: 2}}}}
quantize:
  # Int8 weights and activations.
  int8: {{source: teacher, method: static}}
factorize: {{}}
# A smaller net that learns from the teacher's answers.
distill:{distill}
"""
    gate = f"gate: {{metric: {asked_metric(bool(found.labels), test)}, {asked()}}}"
    return params_text("table", data, model_line(model), sections, gate, ["channels50", "int8", *(["small"] if is_ours else [])])


def _dropped(path: Path, found: TableFound) -> tuple[str, ...]:
    """The columns of the file that were left out."""
    known = {column.name for column in found.columns} | {found.target}
    return tuple(str(name) for name in next(pieces(path)).columns if str(name) not in known)
