"""What every prepared table must satisfy, checked with Great Expectations before an hour is spent on it."""

import logging
import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import pandas as pd
from numpy.typing import NDArray

from slimline.data.profile import column_profile, sample_profile
from slimline.data.table import Table

os.environ.setdefault("GX_ANALYTICS_ENABLED", "false")
import great_expectations as gx
import great_expectations.expectations as gxe

for _name in ("great_expectations", "great_expectations.data_context.types.base"):  # the second sets its own level
    logging.getLogger(_name).setLevel(logging.WARNING)
ROWS_SHOWN = 5
Strata = Mapping[str, "NDArray[Any]"]
"""Split name -> the group of each of its samples."""


@dataclass(frozen=True)
class Finding:
    """The outcome of one expectation: what was expected of what, and the rows that fail it."""

    name: str
    subject: str
    passed: bool
    unexpected: int
    rows: tuple[str, ...]


def check_splits(
    tables: Mapping[str, Table], strata: Strata, every: tuple[str, ...], *, least_share: float, allows_missing: bool, allows_equal: bool
) -> list[Finding]:
    """Run every expectation on the profiles of all splits: missing values, duplicates, leaks, empty texts and pictures, balance.

    `strata` says, split by split, which group each sample belongs to (none where the objective has no groups), `every` which groups
    there must be. The cost grows with the
    number of samples and columns, not with what a sample holds. Equal samples in two splits are never allowed, since test would be known.
    """
    context = gx.get_context(mode="ephemeral")
    context.variables.progress_bars = {"globally": False}
    source = context.data_sources.add_pandas("prepared")
    samples = _all_samples(tables)
    columns = pd.concat([column_profile(table, split) for split, table in tables.items()], ignore_index=True)
    suites = {
        "samples": (samples, list(_sample_expectations(samples, allows_missing=allows_missing, allows_equal=allows_equal))),
        "columns": (columns, [] if allows_missing else [gxe.ExpectColumnValuesToBeBetween(column="missing", max_value=0)]),
    }
    if strata:
        suites["groups"] = (_shares(strata, every), [gxe.ExpectColumnValuesToBeBetween(column="share", min_value=least_share)])
    findings: list[Finding] = []
    for name, (table, expectations) in suites.items():
        if not expectations:
            continue
        batch = source.add_dataframe_asset(name).add_batch_definition_whole_dataframe("all").get_batch({"dataframe": table})
        suite = gx.ExpectationSuite(name=name, expectations=expectations)
        result = batch.validate(suite, result_format={"result_format": "COMPLETE"})
        findings += [_finding(one, table) for one in result.results]
    return findings


def _all_samples(tables: Mapping[str, Table]) -> pd.DataFrame:
    samples = pd.concat([sample_profile(table, split) for split, table in tables.items()], ignore_index=True)
    return samples.assign(splits_holding_it=samples.groupby("content")["split"].transform("nunique"))


def _shares(strata: Strata, known: tuple[str, ...]) -> pd.DataFrame:
    """One row a split and group, with the group's share of the split; a group that a split lacks has the share 0."""
    every = sorted({*known, *(str(group) for groups in strata.values() for group in groups)})
    parts = []
    for split, groups in strata.items():
        shares = pd.Series(groups).astype(str).value_counts(normalize=True).reindex(every, fill_value=0.0)
        parts.append(pd.DataFrame({"group": every, "share": shares.to_numpy(), "split": split}))
    return pd.concat(parts, ignore_index=True)


def _sample_expectations(samples: pd.DataFrame, *, allows_missing: bool, allows_equal: bool) -> Iterator[Any]:
    if not allows_equal:
        yield gxe.ExpectCompoundColumnsToBeUnique(column_list=["split", "content"])
    yield gxe.ExpectColumnValuesToBeBetween(column="splits_holding_it", max_value=1)
    for name in samples.columns:
        if name.endswith((".width", ".height")) or (name.endswith(".characters") and not allows_missing):
            yield gxe.ExpectColumnValuesToBeBetween(column=name, min_value=1)


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
    if "row" in table:
        return f"{row['split']}[{row['row']}]{value}"
    if "column" in table:
        return f"{row['split']}: {row['column']!r} lacks {row['missing']}, first in row {row['first']}"
    return f"{row['split']}: {row['group']}{value}"
