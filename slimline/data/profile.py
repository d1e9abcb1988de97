"""What is known of each sample without its pixels or words: a row a sample, cheap facts by the type of each column."""

import hashlib
from collections import defaultdict
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np
import pandas as pd

from slimline.data.columns import Encoded, Kind, kind_of
from slimline.data.table import Table

LABEL = "label"
"""The column that holds what a model should give; it is no part of what makes two samples the same."""
Facts = dict[str, list[Any]]


def kinds_of(table: Table) -> dict[str, Kind]:
    """Column name -> its kind."""
    return {field.name: kind_of(field.name, field.type) for field in table.schema}


def sample_profile(table: Table, split: str) -> pd.DataFrame:
    """One row a sample: split, row, content (sha256 of all but the label), and of text its characters, of pictures their size and mode."""
    kinds = kinds_of(table)
    parts = [pd.DataFrame(_of_group(group, kinds)) for group in table.groups()]
    profile = pd.concat(parts, ignore_index=True) if parts else pd.DataFrame({"content": []})
    return profile.assign(split=split, row=range(len(profile)))


def column_profile(table: Table, split: str) -> pd.DataFrame:
    """One row a column: split, column, kind, how many values are missing and the first row that lacks one (-1: none)."""
    missing = dict.fromkeys(table.columns, 0)
    first = dict.fromkeys(table.columns, -1)
    start = 0
    for group in table.groups():
        for name, values in group.items():
            lacking = _lacking(values)
            if len(lacking):
                missing[name] += len(lacking)
                first[name] = start + int(lacking[0]) if first[name] < 0 else first[name]
        start += len(next(iter(group.values())))
    kinds = kinds_of(table)
    rows = [{"split": split, "column": name, "kind": kinds[name], "missing": missing[name], "first": first[name]} for name in table.columns]
    return pd.DataFrame(rows)


def _of_group(group: Mapping[str, Any], kinds: Mapping[str, Kind]) -> Facts:
    """The facts of some samples, each column a list; `content` is the sha256 of a sample's values, its label left out.

    Of pictures their pixels count, however they are encoded.
    """
    facts: Facts = defaultdict(list)
    for row in range(len(next(iter(group.values())))):
        digest = hashlib.sha256()
        for name, values in group.items():
            if name == LABEL and kinds[name] != "image":
                continue
            value = values[row]
            for fact, found in _facts(value, kinds[name]):
                facts[f"{name}.{fact}"].append(found)
            if name != LABEL:
                digest.update(_bytes(value))
        facts["content"].append(digest.hexdigest())
    return {"content": facts.pop("content"), **facts}


def _facts(value: Any, kind: Kind) -> Iterator[tuple[str, Any]]:
    """What is cheap to know of a value by its type."""
    if kind == "text":
        yield "characters", len(value or "")
    if kind == "image":
        yield from (("width", value.width), ("height", value.height), ("mode", value.mode))


def _bytes(value: Any) -> bytes:
    if hasattr(value, "tobytes"):
        return bytes(value.tobytes()) + str(getattr(value, "shape", getattr(value, "size", ""))).encode()
    return repr(value).encode()


def _lacking(values: Any) -> np.ndarray:
    """The rows of a group that hold nothing, or a number that is not finite."""
    if isinstance(values, np.ndarray) and values.dtype.kind == "f":
        return np.flatnonzero(~np.isfinite(values.reshape(len(values), -1)).all(axis=1))
    if isinstance(values, np.ndarray) and values.dtype.kind != "O":
        return np.empty(0, int)
    if isinstance(values, Encoded):
        return np.flatnonzero([one is None for one in values.encoded])
    return np.flatnonzero(
        [value is None or (isinstance(value, np.ndarray) and value.dtype.kind == "f" and not np.isfinite(value).all()) for value in values]
    )
