"""Stage `data`: cut the workload's table into splits and hold them against their expectations.

out     data/prepared/{train,validation,calibration,test}.parquet and manifest.json
params  workload, seed, data
"""

import logging
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import pandas as pd

from slimline.artifact.folder import checksums, whole_folder, write_json
from slimline.errors import DataError, WorkloadError
from slimline.params import DataParams
from slimline.report.figures import bar_figure
from slimline.report.page import Figure, StagePage, Table, write_page
from slimline.stage import Stage, stage_main, write_metrics
from slimline.workloads import SPLITS, Workload
from slimline.workloads.expectations import OWN_COLUMNS, Finding, check_splits, content_hashes
from slimline.workloads.trial import trial_problems

log = logging.getLogger(__name__)
PREPARED = Path("data/prepared")


def run(workload: Workload, config: DataParams, seed: int) -> tuple[dict[str, pd.DataFrame], list[Finding]]:
    """The splits, and the outcome of every expectation.

    Raises:
        WorkloadError: a member of the workload fails or breaks its promise on its own table; all that do are named.
        DataError: the workload gives other splits than it should, or an expectation fails (named with its rows).
    """
    splits = workload.splits(config.model_dump(), seed)
    _require_tables(f"workload {workload.name!r}: splits()", splits)
    columns = tuple(column for column in splits["train"].columns if column != "label")
    findings = check_splits(splits, workload, columns, config.min_class_share)
    failed = [finding for finding in findings if not finding.passed]
    if failed:
        raise DataError("\n".join(f"data: {_failure(finding)}" for finding in failed))
    if problems := trial_problems(workload, splits["validation"]):
        raise WorkloadError("\n".join(problems))
    return splits, findings


def _require_tables(where: str, splits: object) -> None:
    """Hold what splits() gave to what it must be: tables of the same columns, `label` among them, each with rows.

    Raises:
        DataError: it is something else; all problems of all tables together.
    """
    if not isinstance(splits, Mapping) or set(splits) != set(SPLITS):
        given = sorted(map(str, splits)) if isinstance(splits, Mapping) else type(splits).__name__
        raise DataError(f"{where} gave {given}; it must give {', '.join(SPLITS)}")
    if others := [split for split in SPLITS if not isinstance(splits[split], pd.DataFrame)]:
        wrong = ", ".join(f"{type(splits[split]).__name__} for {split!r}" for split in others)
        raise DataError(f"{where} gave {wrong}; each split must be a pandas DataFrame")
    problems = [problem for split in SPLITS for problem in _table_problems(f"{where}: split {split!r}", splits[split], splits["train"])]
    if problems:
        raise DataError("\n".join(problems))


def _table_problems(where: str, table: pd.DataFrame, train: pd.DataFrame) -> Iterator[str]:
    names = Counter(table.columns)
    if odd := [name for name in names if not isinstance(name, str) or name in OWN_COLUMNS]:
        yield f"{where} has a column {odd[0]!r}; a column's name is a string, and none of {', '.join(OWN_COLUMNS)}; rename it"
        return
    if twice := [name for name, count in names.items() if count > 1]:
        yield f"{where} has {names[twice[0]]} columns {twice[0]!r}; names are unique; rename or drop one"
    if lacking := [name for name in dict.fromkeys(("label", *train.columns)) if name not in names]:
        yield f"{where} has no column {lacking[0]!r}; every split has the columns of train, and `label`"
    if len(names) < 2 or table.empty:
        yield f"{where} has {len(table)} rows and {table.shape[1]} columns; give each split samples, with features beside `label`"


def _failure(finding: Finding) -> str:
    rows = f"; rows: {', '.join(finding.rows)}" if finding.rows else ""
    more = f" and {finding.unexpected - len(finding.rows)} more" if finding.unexpected > len(finding.rows) > 0 else ""
    return f"{finding.name} fails on {finding.subject!r} ({finding.unexpected} unexpected){rows}{more}; mend the workload's data"


def save_splits(splits: Mapping[str, pd.DataFrame], folder: Path, workload: str, seed: int) -> dict[str, dict[str, object]]:
    """Write the Parquet files and their manifest whole; returns the manifest's description of each split."""
    with whole_folder(folder) as draft:
        for split, table in splits.items():
            table.to_parquet(draft / f"{split}.parquet", index=False)
        files = checksums(draft)
        described: dict[str, dict[str, object]] = {
            split: {
                "rows": len(table),
                "sha256": files[f"{split}.parquet"],
                "samples": content_hashes(table),
                "classes": {str(label): int(count) for label, count in table["label"].value_counts().sort_index().items()},
            }
            for split, table in splits.items()
        }
        write_json(draft / "manifest.json", {"schema": 1, "workload": workload, "seed": seed, "splits": described})
    return described


def page(workload: Workload, splits: Mapping[str, pd.DataFrame], findings: Sequence[Finding]) -> StagePage:
    """The stage's page: sizes, balance and what was checked."""
    total = sum(len(table) for table in splits.values())
    counts = {split: table["label"].value_counts() for split, table in splits.items()}
    classes = range(len(workload.labels))
    totals = ("all", *(len(splits[split]) for split in SPLITS))
    balance = tuple((workload.labels[label], *(int(counts[split].get(label, 0)) for split in SPLITS)) for label in classes)
    by_name: dict[str, list[Finding]] = {}
    for finding in findings:
        by_name.setdefault(finding.name, []).append(finding)
    return StagePage(
        stage="data",
        variant="data",
        title=f"Data of workload {workload.name}",
        summary=(
            f"{total:,} samples in {len(SPLITS)} splits; no sample stands in two of them, by the sha256 of its features.",
            f"All {len(findings)} expectations passed.",
            "Choices are made on validation, ranges on calibration; test is read by the stage evaluate alone.",
        ),
        comparison=(),
        tables=(
            Table("Samples per class", ("class", *SPLITS), (*balance, totals)),
            Table(
                "Expectations (Great Expectations)",
                ("expectation", "checked on", "passed"),
                tuple((name, _subjects(group), f"{sum(one.passed for one in group)} of {len(group)}") for name, group in by_name.items()),
            ),
        ),
        figures=(
            Figure(
                "Class balance of the training split",
                bar_figure(
                    list(workload.labels), [int(counts["train"].get(label, 0)) for label in classes], x_label="class", y_label="samples"
                ),
            ),
        ),
    )


def _subjects(group: Sequence[Finding]) -> str:
    names = [finding.subject for finding in group]
    return ", ".join(names) if len(names) <= 3 else f"{names[0]} … {names[-1]} ({len(names)} columns)"


def main(stage: Stage) -> None:
    """Prepare, check, write."""
    splits, findings = run(stage.workload, stage.params.data, stage.params.seed)
    save_splits(splits, PREPARED, stage.params.workload, stage.params.seed)
    rows = {split: len(table) for split, table in splits.items()}
    write_metrics(stage, {"stage": "data", "variant": "data", "rows": rows, "expectations": len(findings), "failed": 0})
    write_page(page(stage.workload, splits, findings), stage.page_path)
    log.info("data: %s; %d expectations passed", ", ".join(f"{count} {split}" for split, count in rows.items()), len(findings))


if __name__ == "__main__":
    stage_main("data", main, __doc__)
