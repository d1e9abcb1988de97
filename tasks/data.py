"""Stage `data`: write the workload's samples to disk, split by split, and hold them against their expectations.

out     data/prepared/{train,validation,calibration,test}.arrow and manifest.json
params  workload, seed, data, model

Samples in S3 (`data.path: s3://BUCKET/PREFIX`) are copied to .slimline/fetched first.
"""

import logging
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from slimline.artifact.folder import checksums, whole_folder, write_json
from slimline.data.batch import Tensors
from slimline.data.expectations import Finding, Strata, check_splits
from slimline.data.prepared import ENDING, PREPARED, load_table
from slimline.data.profile import LABEL, kinds_of
from slimline.data.signature import SMALLEST, signature_of
from slimline.data.table import GROUP, Source, Table, write_table
from slimline.data.windows import Windows
from slimline.errors import DataError, WorkloadError
from slimline.objectives import Objective
from slimline.params import DataParams
from slimline.report import page as pages
from slimline.report.figures import bar_figure
from slimline.stage import Stage, stage_main, write_metrics
from slimline.workloads import SPLITS
from slimline.workloads.facts import write_facts
from slimline.workloads.guarded import Guarded, guarded
from slimline.workloads.opened import door_of, facts_of, opened
from slimline.workloads.trial import trial_problems

log = logging.getLogger(__name__)
LOOKED_AT = 16
"""Samples of each split from which it is told whether inputs differ in shape."""
MOST_SHOWN = 40
"""Groups whose balance is shown; of more, the commonest."""


def prepared(stage: Stage, folder: Path) -> Guarded:
    """Write every split into `folder`; the workload that they are read by: one without code is made of what its door learned of them.

    Raises:
        DataError, WorkloadError: the samples are not what they must be.
    """
    params = stage.params
    if (door := door_of(params.workload, local(params.data), params.model)) is None:
        options = params.data.model_dump()
        write_splits(f"workload {stage.workload.name!r}: splits()", stage.workload.splits(options, params.seed), folder)
        return stage.workload
    write_splits(f"workload {params.workload!r}", door.splits(params.seed), folder)
    write_facts(folder, facts_of(door, load_table("train", folder), params))
    return guarded(params.workload, opened(params.workload, prepared=folder))


def local(config: DataParams) -> DataParams:
    """The same settings with the path of a copy on this machine, where the samples lie in S3."""
    if not config.path.startswith("s3://"):
        return config
    from slimline.storage.fetched import fetched

    return config.model_copy(update={"path": str(fetched(config.path))})


def run(workload: Guarded, config: DataParams, folder: Path) -> tuple[list[Finding], Strata]:
    """The outcome of every expectation on the splits in `folder`, and the group of each sample where the objective knows groups.

    Raises:
        WorkloadError: a member of the workload fails or breaks its promise on its own samples; all that do are named.
        DataError: the workload gives other splits than it should, a target that its objective does not take, or an expectation fails
            (named with its rows).
    """
    tables = {split: load_table(split, folder) for split in SPLITS}
    if problems := trial_problems(workload, tables["validation"]):
        raise WorkloadError("\n".join(problems))
    strata = {split: groups for split, table in tables.items() if (groups := strata_of(workload, split, table)) is not None}
    allowed = {"allows_missing": workload.allows_missing, "allows_equal": workload.allows_equal}
    findings = check_splits(tables, strata, workload.objective.every_stratum(), least_share=config.min_class_share, **allowed)
    if failed := [finding for finding in findings if not finding.passed]:
        raise DataError("\n".join(f"data: {_failure(finding)}" for finding in failed))
    return findings, strata


def write_splits(where: str, splits: object, folder: Path) -> None:
    """Write what splits() gave, held to what it must be: the four splits, of the same columns, each with rows.

    Raises:
        DataError: it is something else.
    """
    if not isinstance(splits, Mapping) or set(splits) != set(SPLITS):
        given = sorted(map(str, splits)) if isinstance(splits, Mapping) else type(splits).__name__
        raise DataError(f"{where} gave {given}; it must give {', '.join(SPLITS)}")
    schemas = {}
    for split in SPLITS:
        require_columns(f"{where}: split {split!r}", splits[split])
        try:
            rows = write_table(folder / f"{split}{ENDING}", splits[split])
        except DataError as error:
            raise DataError(f"{where}: split {split!r}: {error}") from None
        if not rows:
            raise DataError(f"{where}: split {split!r} holds no sample; give each split some")
        schemas[split] = load_table(split, folder).schema
    for split, schema in schemas.items():
        if not schema.equals(schemas["train"]):
            there = "; ".join(f"{field.name}: {field.type}" for field in schema if field not in schemas["train"]) or ", ".join(schema.names)
            raise DataError(f"{where}: split {split!r} has other columns than train ({there}); give every split the same")


def require_columns(where: str, source: Source) -> None:
    """Hold a split to being samples with columns of unique names.

    Raises:
        DataError: it is something else.
    """
    if isinstance(source, str | bytes | Mapping) or not hasattr(source, "__iter__"):
        raise DataError(f"{where} is {type(source).__name__}; give a DataFrame, a datasets.Dataset or an iterable of dicts")
    names = Counter(map(str, getattr(source, "columns", ())))
    if twice := [name for name, count in names.items() if count > 1]:
        raise DataError(f"{where} has {names[twice[0]]} columns {twice[0]!r}; names are unique; rename or drop one")


def strata_of(workload: Guarded, split: str, table: Table) -> NDArray[Any] | None:
    """The group of each sample; None where the objective knows none.

    Raises:
        DataError: a target is none that the objective takes.
    """
    parts = []
    for start in range(0, len(table), GROUP):
        targets = workload.targets(table.rows(slice(start, start + GROUP)))
        _require_targets(workload.objective, targets, f"data: {split}[{start}…]")
        parts.append(workload.objective.strata(targets))
    known = [part for part in parts if part is not None]
    return np.concatenate(known) if known else None


def _require_targets(objective: Objective, targets: Tensors, where: str) -> None:
    if breach := objective.targets_breach(targets):
        raise DataError(f"{where}: {breach}")


def _failure(finding: Finding) -> str:
    rows = f"; rows: {', '.join(finding.rows)}" if finding.rows else ""
    more = f" and {finding.unexpected - len(finding.rows)} more" if finding.unexpected > len(finding.rows) > 0 else ""
    return f"{finding.name} fails on {finding.subject!r} ({finding.unexpected} unexpected){rows}{more}; mend the workload's data"


def varying(workload: Guarded, folder: Path) -> dict[str, dict[str, tuple[int, int]]]:
    """The axes of inputs that differ from sample to sample, and between which bounds: input name -> axis (from 0) -> bounds.

    A few samples tell whether any does; then all are looked at, in batches, since the longest of a batch is what it is filled up to.
    Windows of a text say so themselves.
    """
    if isinstance(workload.preprocessing, Windows):
        return workload.preprocessing.varies
    tables = [load_table(split, folder) for split in SPLITS]
    some = [workload.inputs(table.rows([row])) for table in tables for row in range(min(LOOKED_AT, len(table)))]
    found = signature_of(some, next(iter(some[0].values())))
    if not any(one.varies for one in found.inputs):
        return {}
    groups = (table.rows(slice(start, start + GROUP)) for table in tables for start in range(0, len(table), GROUP))
    shapes = [{name: value.shape for name, value in batch.items()} for batch in (*some, *map(workload.inputs, groups))]
    return {
        one.name: {str(axis): _bounds([shape[one.name][1 + axis] for shape in shapes]) for axis in one.varies}
        for one in found.inputs
        if one.varies
    }


def _bounds(sizes: Sequence[int]) -> tuple[int, int]:
    return SMALLEST, max(SMALLEST, *sizes)


def describe(folder: Path, workload: str, seed: int, varies: Mapping[str, Any] | None = None) -> dict[str, dict[str, object]]:
    """Write the manifest of the splits in a folder; returns its description of each."""
    files = checksums(folder)
    tables = {split: load_table(split, folder) for split in SPLITS}
    described: dict[str, dict[str, object]] = {
        split: {"rows": len(table), "sha256": files[f"{split}{ENDING}"], "columns": kinds_of(table)} for split, table in tables.items()
    }
    write_json(folder / "manifest.json", {"schema": 2, "workload": workload, "seed": seed, "varies": varies or {}, "splits": described})
    return described


def page(
    workload: Guarded, rows: Mapping[str, int], strata: Strata, findings: Sequence[Finding], columns: Mapping[str, str]
) -> pages.StagePage:
    """The stage's page: sizes, columns, balance and what was checked."""
    by_name: dict[str, list[Finding]] = {}
    for finding in findings:
        by_name.setdefault(finding.name, []).append(finding)
    checked = tuple((name, _subjects(group), f"{sum(one.passed for one in group)} of {len(group)}") for name, group in by_name.items())
    return pages.StagePage(
        stage="data",
        variant="data",
        title=f"Data of workload {workload.name}",
        summary=(
            f"{sum(rows.values()):,} samples in {len(SPLITS)} splits; no sample stands in two of them, by the sha256 of what it holds.",
            f"All {len(findings)} expectations passed.",
            "Choices are made on validation, ranges on calibration; test is read by the stages evaluate and time alone.",
        ),
        comparison=(),
        tables=(
            balance_table(rows, strata),
            pages.Table("Columns", ("column", "kind"), tuple(columns.items())),
            pages.Table("Expectations (Great Expectations)", ("expectation", "checked on", "passed"), checked),
        ),
        figures=balance_figures(strata),
    )


def balance_table(rows: Mapping[str, int], strata: Strata) -> pages.Table:
    """How many samples each split has, group by group where there are groups."""
    counts = {split: Counter(map(str, groups)) for split, groups in strata.items()}
    shown = [group for group, _ in sum(counts.values(), Counter()).most_common(MOST_SHOWN)]
    balance = tuple((group, *(counts[split][group] for split in SPLITS)) for group in sorted(shown)) if counts else ()
    return pages.Table("Samples", ("group", *SPLITS), (*balance, ("all", *(rows[split] for split in SPLITS))))


def balance_figures(strata: Strata) -> tuple[pages.Figure, ...]:
    """The groups of the training split as bars."""
    if "train" not in strata:
        return ()
    commonest = Counter(map(str, strata["train"])).most_common(MOST_SHOWN)
    groups = dict(sorted(commonest))
    bars = bar_figure(list(groups), list(groups.values()), x_label="group", y_label="samples")
    return (pages.Figure("Balance of the training split", bars),)


def _subjects(group: Sequence[Finding]) -> str:
    names = [finding.subject for finding in group]
    return ", ".join(names) if len(names) <= 3 else f"{names[0]} … {names[-1]} ({len(names)} columns)"


def main(stage: Stage) -> None:
    """Prepare, check, write."""
    with whole_folder(PREPARED) as draft:
        workload = prepared(stage, draft)
        findings, strata = run(workload, stage.params.data, draft)
        described = describe(draft, stage.params.workload, stage.params.seed, varying(workload, draft))
    rows = {split: int(str(each["rows"])) for split, each in described.items()}
    write_metrics(stage, {"stage": "data", "variant": "data", "rows": rows, "expectations": len(findings), "failed": 0})
    columns = {name: str(kind) for name, kind in kinds_of(load_table("train")).items() if name != LABEL}
    pages.write_page(page(workload, rows, strata, findings, columns), stage.page_path)
    log.info("data: %s; %d expectations passed", ", ".join(f"{count} {split}" for split, count in rows.items()), len(findings))


if __name__ == "__main__":
    stage_main("data", main, __doc__)
