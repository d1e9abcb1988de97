"""What `slimline init` says and writes of a table with a column of texts."""

from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from slimline.commands.init_huggingface import model_line, suggested
from slimline.commands.init_table import told_target
from slimline.commands.looked import TEACH, Looked, asked, asked_metric, inline, params_text, told_power, told_splits
from slimline.data.preprocessing import words_of
from slimline.errors import DataError, InputError
from slimline.params import DataParams
from slimline.workloads.huggingface.directory import is_directory
from slimline.workloads.records import FEW_CLASSES, TableFound, pieces
from slimline.workloads.table import SPLITS, cut_rows
from slimline.workloads.text import LONGEST, find_texts, vocabulary, words_problem

if TYPE_CHECKING:
    import pandas as pd

SEVERAL_WORDS, LOOKED_AT = 4, 500
"""A column whose texts have so many words on average is free text; it is told from the first rows."""
SIZE_RATIO = 1.1
"""The embedding of words is most of such a net, and what is pruned or factorized leaves it as it is."""
COSINE_DROP = 0.02
"""By how much less than 1 the cosine to the encoder's own vectors may be, on average."""


def free_text(path: Path, target: str | None, drop: tuple[str, ...]) -> str | None:
    """The one column of a table that holds free text, beside the target; None where there is none, or more than one."""
    some = next(pieces(path, drop)).head(LOOKED_AT)
    names = [str(name) for name in some.columns if str(name) != target]
    found = [name for name in names if _is_free(some[name])]
    return found[0] if len(found) == 1 else None


def _is_free(cells: "pd.Series") -> bool:
    """Several words in most cells, of letters, so that a date is none; and many different ones, since a few are the names of categories."""
    texts = cells[cells.map(lambda cell: isinstance(cell, str))]
    if texts.nunique() <= min(FEW_CLASSES, len(cells) // 2):
        return False
    return bool(np.mean([sum(map(str.isalpha, words_of(text))) for text in texts] or [0]) >= SEVERAL_WORDS)


def look_at_text(path: Path, target: str | None, text: str, model: str, root: Path = Path()) -> Looked:
    """The findings and the params.yaml for a column of texts.

    Raises:
        InputError: no target was named.
        DataError: the table cannot be learned from; all reasons together.
    """
    if target is None and is_directory(model):
        return _of_encoder(path, text, model, root)
    if target is None:
        others = ", ".join(str(name) for name in next(pieces(path)).columns if str(name) != text)
        if not others:
            raise InputError(
                f"{path}: has no column beside the texts {text!r} to be told from them; texts alone are a folder, for a language model"
            )
        raise InputError(f"{path}: column {text!r} holds texts; name the column to be told from them: --target COLUMN, one of {others}")
    options = DataParams(path=str(path), target=target, text=text)
    found = find_texts(options)
    options = options.model_copy(update={"task": found.task, "calibration_samples": min(256, found.rows // 8)})
    where = cut_rows(found, options, 0)
    splits = {split: int((where == place).sum()) for place, split in enumerate(SPLITS)}
    counts, lengths = _counted(path, text)
    if not is_directory(model) and (problem := words_problem(vocabulary(counts), f"{path}: column {text!r}")):
        raise DataError(problem)
    facts = {"workload": "text", "rows": found.rows, "text": text, "task": found.task, "splits": splits, "longest": max(lengths)}
    return Looked(tuple(_lines(path, found, text, lengths, splits, model)), facts, _text(path, model, found, options, splits["test"], root))


def _of_encoder(path: Path, text: str, model: str, root: Path) -> Looked:
    """Texts without a target: an encoder's own vectors are what a smaller one is held to."""
    _, lengths = _counted(path, text)
    rows = len(lengths)
    calibration = max(1, min(256, rows // 8))
    data = (
        f"data: {{path: {inline(str(path))}, text: {inline(text)}, test_fraction: 0.3, validation_fraction: 0.1, "
        f"calibration_samples: {calibration}, min_class_share: 0.001}}"
    )
    net, sections, names = suggested(model, root, calibration, trains=False)
    gate = f"gate: {{metric: cosine, max_drop: {COSINE_DROP}, {asked(SIZE_RATIO)}}}"
    lines = (
        _told_texts(path, rows, text, lengths),
        f"there is no target: a smaller encoder is to give the vectors that {model} gives (name one with --target to tell classes)",
    )
    facts = {"workload": "text", "rows": rows, "text": text, "task": "embedding", "longest": max(lengths)}
    return Looked(lines, facts, params_text("text", data, net, sections, gate, list(names)))


def _lines(path: Path, found: TableFound, text: str, lengths: list[int], splits: dict[str, int], model: str) -> list[str]:
    longest = max(lengths)
    cut = "" if is_directory(model) else f"; of longer ones the first {LONGEST} words are read" if longest > LONGEST else ""
    return [
        f"{_told_texts(path, found.rows, text, lengths)}{cut}",
        f"the target is {found.target!r}: {told_target(found)}",
        told_splits(splits),
        *([told_power(splits["test"])] if found.labels else []),
    ]


def _counted(path: Path, text: str) -> tuple[Counter[str], list[int]]:
    """How often each word stands in a column, and how many words each cell has."""
    counts, lengths = Counter[str](), list[int]()
    for piece in pieces(path):
        for cell in piece[text]:
            words = words_of(cell)
            counts.update(words)
            lengths.append(len(words))
    return counts, lengths


def _told_texts(path: Path, rows: int, text: str, lengths: list[int]) -> str:
    empty = f", {count:,} of them empty" if (count := lengths.count(0)) else ""
    spread = f"of {int(np.median(lengths)):,} words in the median and {max(lengths):,} at most"
    return f"{path}: {rows:,} texts in column {text!r}{empty}, {spread}"


def _text(path: Path, model: str, found: TableFound, options: DataParams, test: int, root: Path) -> str:
    data = (
        f"data: {{path: {inline(str(path))}, text: {inline(options.text)}, target: {inline(found.target)}, task: {found.task}, "
        f"test_fraction: 0.3, validation_fraction: 0.1, calibration_samples: {options.calibration_samples}, min_class_share: 0.001}}"
    )
    gate = f"gate: {{metric: {asked_metric(bool(found.labels), test)}, {asked(SIZE_RATIO)}}}"
    if is_directory(model):
        net, sections, names = suggested(model, root, options.calibration_samples)
        return params_text("text", data, net, sections, gate, list(names))
    is_ours = model == "default"
    student = "student: {embedding: 16, widths: [64, 32]}"
    distill = (
        f"\n  small: {{source: teacher, method: soft_targets, {student}, temperature: 2, alpha: 0.3, epochs: 40}}\n{TEACH}"
        if is_ours
        else " {}"
    )
    sections = f"""teacher: {{source: train, epochs: 15, batch_size: 64, learning_rate: 0.002, patience: 4, threads: 2}}
calibrate: {{samples: {options.calibration_samples}, batch_size: 32}}

prune:
  # Half of the filters, trained again for a few epochs.
  channels50: {{source: teacher, method: channels, ratio: 0.5, round_to: 8, recover: {{epochs: 8, threads: 2}}}}
quantize:
  # Int8 weights and activations; the rows of the embedding, most of the bytes, have a scale each.
  int8: {{source: teacher, method: static}}
factorize: {{}}
# A smaller net that learns from the teacher's answers.
distill:{distill}
"""
    return params_text("text", data, model_line(model), sections, gate, ["channels50", "int8", *(["small"] if is_ours else [])])
