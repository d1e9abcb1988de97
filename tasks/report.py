"""Stage `report`: the gate's verdict on every deployed variant, the summary, and the decision page.

in      reports/metrics/{evaluate,time}/*.json, data/evaluated/*/{predictions,flipped}.parquet
out     reports/summary.json, reports/index.html, reports/index.md, reports/stages/report/report.md and .html
params  workload, seed, prune, quantize, factorize, distill, deploy, gate

The gate is applied here and not in `evaluate`, so that another limit re-runs this stage alone.
"""

import logging
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pandas as pd

from slimline.artifact.folder import write_json
from slimline.errors import StageError
from slimline.params import Params, params_sha256
from slimline.report import plain
from slimline.report.controls import Predictions, controls
from slimline.report.decision import Evidence, write_decision
from slimline.report.gate_table import check_results, results_frame
from slimline.report.lost import lost_samples
from slimline.report.page import StagePage, Table, write_page
from slimline.report.provenance import run_facts
from slimline.report.summary import Evaluation, by_merit, count_verdicts, one_machine, preferred, read_measured, summarise
from slimline.stage import Stage, stage_main
from slimline.verdict.gate import judge
from slimline.workloads import Workload

log = logging.getLogger(__name__)

REPORTS, EVALUATED = Path("reports"), Path("data/evaluated")


def run(
    evaluations: tuple[Evaluation, ...],
    predictions: Predictions,
    samples: pd.DataFrame,
    workload: Workload,
    params: Params,
    facts: Mapping[str, Any],
) -> Evidence:
    """Everything that the pages show, from what was measured; `facts` says which run this is, `samples` holds those that flipped."""
    machine, elsewhere = one_machine(evaluations)
    summary = summarise(workload.name, {**facts, "machine": machine}, evaluations)
    return Evidence(
        summary=summary,
        params=params,
        controls=tuple(controls(params, predictions)),
        lost=lost_samples(predictions, samples, workload.labels, workload.show),
        rules=check_results(results_frame(summary["variants"]), params.gate),
        elsewhere=elsewhere,
    )


def read_evaluations(params: Params, folder: Path = REPORTS / "metrics") -> Iterator[Evaluation]:
    """What evaluate and time wrote of every deployed variant, judged, in the order of params.yaml."""
    for variant in params.deploy.variants:
        for target in params.deploy.targets:
            quality, timing = read_measured(folder, variant, target)
            verdict = judge(quality, timing, params.gate)
            yield Evaluation(quality, timing, verdict.verdict, tuple(verdict.reasons))


def read_predictions(params: Params, folder: Path = EVALUATED) -> Predictions:
    """Every deployed variant's answers on the test split."""
    return _read_evaluated(params, folder, "predictions.parquet")


def read_flipped(params: Params, folder: Path = EVALUATED) -> pd.DataFrame:
    """The test samples that some deployed variant lost or gained, as evaluate kept them, under their number in the test split."""
    rows = pd.concat(_read_evaluated(params, folder, "flipped.parquet").values())
    return rows[~rows.index.duplicated()].sort_index()


def _read_evaluated(params: Params, folder: Path, name: str) -> dict[tuple[str, str], pd.DataFrame]:
    found = {}
    for variant in params.deploy.variants:
        for target in params.deploy.targets:
            path = folder / f"{variant}-{target}" / name
            if not path.is_file():
                raise StageError(f"{path}: missing; run `dvc repro evaluate@{variant}-{target}`")
            found[variant, target] = pd.read_parquet(path)
    return found


def page(evidence: Evidence) -> StagePage:
    """The stage's own short page, which leads to the decision page."""
    summary, metric = evidence.summary, evidence.params.gate.metric
    best = preferred(summary["variants"])
    verdicts = tuple((name, amount) for name, amount in count_verdicts(summary).items())
    rows = tuple((row["variant"], row["target"], row["verdict"], row["reasons"][0]) for row in by_merit(summary["variants"]))
    return StagePage(
        stage="report",
        variant="report",
        title=plain.headline(summary, best),
        summary=tuple(plain.lead(summary, best, metric)),
        comparison=(),
        tables=(
            Table("Verdicts", ("verdict", "variants"), verdicts),
            Table("What decided", ("variant", "target", "verdict", "first reason"), rows),
        ),
        notes=("The whole evidence is on the decision page, reports/index.html.",),
    )


def main(stage: Stage) -> None:
    """Read what was measured, judge it, write the summary and the pages."""
    evaluations = tuple(read_evaluations(stage.params))
    facts = run_facts(Path(), params_sha256(Path("params.yaml")))
    evidence = run(evaluations, read_predictions(stage.params), read_flipped(stage.params), stage.workload, stage.params, facts)
    write_decision(evidence, REPORTS)
    write_json(REPORTS / "summary.json", evidence.summary)
    write_page(page(evidence), stage.page_path)
    log.info("report: %s; open %s", plain.headline(evidence.summary, preferred(evidence.summary["variants"])), REPORTS / "index.html")


if __name__ == "__main__":
    stage_main("report", main, __doc__)
