"""What every prepared table must satisfy, checked with Great Expectations before an hour is spent on it."""

import hashlib
import logging
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import pandas as pd

from slimline.workloads import Workload

os.environ.setdefault("GX_ANALYTICS_ENABLED", "false")
import great_expectations as gx
import great_expectations.expectations as gxe

for _name in ("great_expectations", "great_expectations.data_context.types.base"):  # the second sets its own level
    logging.getLogger(_name).setLevel(logging.WARNING)
ROWS_SHOWN = 5
OWN_COLUMNS = ("split", "row", "content", "splits_holding_it")
"""What the checks add to a table; a workload has no columns of these names."""


@dataclass(frozen=True)
class Finding:
    """The outcome of one expectation: what was expected of what, and the rows that fail it."""

    name: str
    subject: str
    passed: bool
    unexpected: int
    rows: tuple[str, ...]


def content_hashes(table: pd.DataFrame) -> list[str]:
    """The sha256 of each row's features (the label left out): what makes two samples the same."""
    features = table.drop(columns="label", errors="ignore")
    if all(pd.api.types.is_numeric_dtype(kind) for kind in features.dtypes):
        rows = features.to_numpy("float32")
        return [hashlib.sha256(row.tobytes()).hexdigest() for row in rows]
    return [hashlib.sha256(repr(row).encode()).hexdigest() for row in features.itertuples(index=False)]


def check_splits(splits: Mapping[str, pd.DataFrame], workload: Workload, columns: tuple[str, ...], min_class_share: float) -> list[Finding]:
    """Run every expectation on all splits together: schema, types, missing values, ranges, labels, balance, duplicates, leaks."""
    context = gx.get_context(mode="ephemeral")
    context.variables.progress_bars = {"globally": False}
    source = context.data_sources.add_pandas("prepared")
    samples, shares = _all_samples(splits), _class_shares(splits, len(workload.labels))
    suites = {
        "samples": (samples, list(_sample_expectations(samples, columns, workload))),
        "classes": (shares, list(_class_expectations(workload, min_class_share))),
    }
    findings: list[Finding] = []
    for name, (table, expectations) in suites.items():
        batch = source.add_dataframe_asset(name).add_batch_definition_whole_dataframe("all").get_batch({"dataframe": table})
        suite = gx.ExpectationSuite(name=name, expectations=expectations)
        result = batch.validate(suite, result_format={"result_format": "COMPLETE"})
        findings += [_finding(one, table) for one in result.results]
    return findings


def _all_samples(splits: Mapping[str, pd.DataFrame]) -> pd.DataFrame:
    parts = [table.assign(split=split, row=range(len(table)), content=content_hashes(table)) for split, table in splits.items()]
    samples = pd.concat(parts, ignore_index=True)
    return samples.assign(splits_holding_it=samples.groupby("content")["split"].transform("nunique"))


def _class_shares(splits: Mapping[str, pd.DataFrame], classes: int) -> pd.DataFrame:
    """One row a split and class, with the class's share of the split; a class that a split lacks has the share 0."""
    parts = []
    for split, table in splits.items():
        shares = table["label"].value_counts(normalize=True)
        whole = shares.reindex([*range(classes), *(label for label in shares.index if label not in range(classes))], fill_value=0.0)
        parts.append(pd.DataFrame({"label": whole.index, "share": whole.to_numpy(), "split": split}))
    return pd.concat(parts, ignore_index=True)


def _sample_expectations(samples: pd.DataFrame, columns: tuple[str, ...], workload: Workload) -> Iterator[Any]:
    low, high = workload.feature_range
    yield gxe.ExpectTableColumnsToMatchSet(column_set=[*columns, "label", *OWN_COLUMNS])
    for column in (*columns, "label"):
        if column not in samples:
            continue
        yield gxe.ExpectColumnValuesToNotBeNull(column=column)
        numeric = pd.api.types.is_numeric_dtype(samples[column])
        if column != "label" or not samples[column].hasnans:
            wanted = ["int64", "int32", "int16", "int8", "uint8"] + ([] if column == "label" else ["float32", "float64"])
            yield gxe.ExpectColumnValuesToBeInTypeList(column=column, type_list=wanted)
        if column != "label" and numeric:
            yield gxe.ExpectColumnValuesToBeBetween(column=column, min_value=low, max_value=high)
    if "label" in samples:
        yield gxe.ExpectColumnValuesToBeInSet(column="label", value_set=list(range(len(workload.labels))))
    yield gxe.ExpectCompoundColumnsToBeUnique(column_list=["split", "content"])
    yield gxe.ExpectColumnValuesToBeBetween(column="splits_holding_it", max_value=1)


def _class_expectations(workload: Workload, min_class_share: float) -> Iterator[Any]:
    yield gxe.ExpectColumnDistinctValuesToEqualSet(column="label", value_set=list(range(len(workload.labels))))
    yield gxe.ExpectColumnValuesToBeBetween(column="share", min_value=min_class_share)


def _finding(result: Any, table: pd.DataFrame) -> Finding:
    configured = result.expectation_config.kwargs
    subject = configured.get("column") or ", ".join(configured.get("column_list", [])) or "table"
    indices = [index for index in result.result.get("unexpected_index_list") or [] if isinstance(index, int)]
    observed = result.result.get("observed_value")
    rows = [_row_label(table, index, subject) for index in indices[:ROWS_SHOWN]]
    if not result.success and not rows and observed is not None:
        rows = [f"observed {observed}"]
    count = int(result.result.get("unexpected_count") or len(indices) or (not result.success))
    return Finding(result.expectation_config.type, subject, bool(result.success), count, tuple(rows))


def _row_label(table: pd.DataFrame, index: int, subject: str) -> str:
    row = table.loc[index]
    value = f" = {row[subject]}" if subject in table else ""
    return f"{row['split']}[{row['row']}]{value}" if "row" in table else f"{row['split']}: class {row['label']}{value}"
