"""Stage `report`: the gate's verdict on every deployed variant, the summary, and the decision page.

in      reports/metrics/{evaluate,time,cache,harness}/*.json, data/evaluated/*/{predictions.parquet,changed.arrow}
out     reports/{summary.json,figures.json,variants.csv,index.html,index.md}, reports/stages/report/report.{md,html}
params  workload, seed, prune, quantize, factorize, distill, deploy, cache, harness, gate

The gate is applied here and not in `evaluate`, so that another limit re-runs this stage alone.
"""

import itertools
import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pandas as pd

from slimline.artifact.border import told_as
from slimline.artifact.folder import write_json, write_text
from slimline.data.table import read_numbered
from slimline.data.windows import Windows
from slimline.errors import ArtifactError, StageError
from slimline.params import GateParams, Params, params_sha256
from slimline.report import plain, tracked
from slimline.report.cache import read_cache
from slimline.report.controls import Predictions, controls
from slimline.report.decision import Evidence, write_decision
from slimline.report.draws import draws_beside
from slimline.report.gate_rule import RuleResult
from slimline.report.gate_table import check_results, results_frame
from slimline.report.harness import read_harness
from slimline.report.lost import lost_samples
from slimline.report.page import StagePage, Table, write_page
from slimline.report.provenance import run_facts
from slimline.report.summary import (
    NOTHING_BESIDE,
    Evaluation,
    Missing,
    Rejected,
    by_merit,
    count_verdicts,
    evaluations_of,
    measured,
    one_machine,
    preferred,
    read_measured,
    read_rejected,
    summarise,
)
from slimline.stage import Stage, stage_main
from slimline.verdict.family import keeps_together
from slimline.verdict.gate import judge
from slimline.workloads.guarded import Guarded

log = logging.getLogger(__name__)

REPORTS, EVALUATED = Path("reports"), Path("data/evaluated")
BESIDE: dict[str, Callable[[Path, str, str], dict[str, Any] | None]] = {"cache": read_cache, "harness": read_harness}
"""Stages of language models beside the verdict -> how what they found is read."""
Key = tuple[str, str]
"""(variant, target)"""


def run(
    judged: tuple[Evaluation | Rejected, ...],
    predictions: Predictions,
    samples: Mapping[int, Mapping[str, Any]],
    workload: Guarded,
    params: Params,
    facts: Mapping[str, Any],
    missing: tuple[Missing, ...] = (),
    beside: Mapping[str, Sequence[Mapping[str, Any]]] = NOTHING_BESIDE,
) -> Evidence:
    """Everything that the pages show, from what was measured; `facts` says which run this is, `samples` holds those that flipped.

    Raises:
        StageError: measurement and verdict contradict each other.
    """
    machine, elsewhere = one_machine(evaluations_of(judged))
    summary = summarise(workload.name, {**facts, "machine": machine}, judged, missing, beside)
    return Evidence(
        summary=summary,
        params=params,
        controls=tuple(controls(params, predictions)),
        lost=lost_samples(predictions, samples, *_shown(workload)),
        rules=_rules(summary, params.gate),
        elsewhere=elsewhere,
    )


def _shown(workload: Guarded) -> tuple[Callable[[Any], str], Callable[[Mapping[str, Any]], str]]:
    """What writes an answer, and what draws a sample: of windows of a text, whose answers are texts, nothing."""
    windows = workload.preprocessing
    return (windows.shown, lambda _: "") if isinstance(windows, Windows) else (workload.objective.shown, workload.show)


def _rules(summary: Mapping[str, Any], gate: GateParams) -> tuple[RuleResult, ...]:
    rows = measured(summary["variants"])
    return check_results(results_frame(rows, summary["baseline"], gate), gate, rows[0]["drop"]["unit"])


def deployed(params: Params, missing: Sequence[Missing] = ()) -> tuple[Key, ...]:
    """Every variant on its targets in the order of params.yaml, without those that are missing."""
    gone = {(one.variant, one.target) for one in missing}
    every = itertools.product(params.deploy.variants, params.deploy.targets)
    return tuple(key for key in every if key not in gone)


def read_judged(keys: Sequence[Key], gate: GateParams, folder: Path = REPORTS / "metrics") -> Iterator[Evaluation | Rejected]:
    """What evaluate and time wrote of each, judged; a variant that was not made is rejected with what its stage said."""
    for variant, target in keys:
        if rejected := read_rejected(folder, variant, target):
            yield rejected
            continue
        quality, timing = read_measured(folder, variant, target)
        verdict = judge(quality, timing, gate)
        reasons = (*verdict.reasons, *draws_beside(folder, variant, quality["drop"]["unit"]))
        yield Evaluation(quality, timing, verdict.verdict, reasons)


def judged_together(judged: Sequence[Evaluation | Rejected], gate: GateParams) -> tuple[Evaluation | Rejected, ...]:
    """Beside each verdict, whether the drop keeps within the margin among all of this run; the gate may ask for that."""
    measured_ones = evaluations_of(judged)
    bounds = {one.key: one.quality["upper_bounds"] for one in measured_ones}
    relative = gate.max_relative_drop is not None
    most = gate.max_drop if gate.max_relative_drop is None else gate.max_relative_drop
    kept = keeps_together(bounds, most, relative=relative, before=gate.judged_before)
    return tuple(_beside_others(one, one.key in kept, len(bounds), gate) if isinstance(one, Evaluation) else one for one in judged)


def _beside_others(one: Evaluation, is_kept: bool, count: int, gate: GateParams) -> Evaluation:
    before = f" and the {gate.judged_before} that the same test split judged before" if gate.judged_before else ""
    together = f"among the {count} of this run{before}, judged together with {gate.confidence:.0%} confidence (Holm),"
    if is_kept:
        return replace(one, familywise=True, reasons=(*one.reasons, f"Its drop keeps within the margin also {together} not only alone."))
    sentence = f"Its drop is not shown to keep within the margin {together} whatever it is alone."
    if gate.familywise and one.verdict == "accept":
        return replace(one, familywise=False, verdict="inconclusive", reasons=(sentence, *one.reasons))
    return replace(one, familywise=False, reasons=(*one.reasons, sentence))


def read_predictions(keys: Sequence[Key], folder: Path = EVALUATED) -> Predictions:
    """The answers of each on the test split."""
    found = {}
    for key in keys:
        path = _evaluated(key, folder, "predictions.parquet")
        with told_as(_damaged(path)):
            found[key] = pd.read_parquet(path)
    return found


def _damaged(path: Path) -> Callable[[str], ArtifactError]:
    return lambda reason: ArtifactError(f"{path}: is damaged: {reason}; evaluate it again")


def read_changed(keys: Sequence[Key], folder: Path = EVALUATED) -> dict[int, Mapping[str, Any]]:
    """The test samples that one of them answers otherwise than the teacher, as evaluate kept them, by their number in the test split."""
    return {number: row for key in keys for number, row in read_numbered(_evaluated(key, folder, "changed.arrow")).items()}


def read_beside(
    section: str, params: Params, missing: Sequence[Missing] = (), folder: Path = REPORTS / "metrics"
) -> Iterator[dict[str, Any]]:
    """What a stage beside the verdict found of each that it was run for; where a stage has failed, of those whose figures stand."""
    for name, asked in getattr(params, section).items():
        if missing and not (folder / section / f"{name}.json").is_file():
            continue
        if (found := BESIDE[section](folder, asked.variant, asked.target)) is not None:
            yield found


def _evaluated(key: Key, folder: Path, name: str) -> Path:
    path = folder / "-".join(key) / name
    if not path.is_file():
        raise StageError(f"{path}: missing; run `dvc repro evaluate@{'-'.join(key)}`")
    return path


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
        summary=(*plain.lead(summary, best, metric), *plain.missing(summary)),
        comparison=(),
        tables=(
            Table("Verdicts", ("verdict", "variants"), verdicts),
            Table("What decided", ("variant", "target", "verdict", "first reason"), rows),
        ),
        notes=("The whole evidence is on the decision page, reports/index.html.",),
    )


def main(stage: Stage, missing: tuple[Missing, ...] = ()) -> None:
    """Read what was measured, judge it, write the summary and the pages.

    Raises:
        StageError: nothing was measured.
    """
    judged = judged_together(tuple(read_judged(deployed(stage.params, missing), stage.params.gate)), stage.params.gate)
    if not evaluations_of(judged):
        raise StageError("report: nothing was measured, so there is nothing to judge; mend what failed before it")
    made = [(one.quality["variant"], one.quality["target"]) for one in evaluations_of(judged)]
    facts = run_facts(Path(), params_sha256(Path("params.yaml")))
    beside = {section: tuple(read_beside(section, stage.params, missing)) for section in BESIDE}
    evidence = run(judged, read_predictions(made), read_changed(made), stage.workload, stage.params, facts, missing, beside)
    write_decision(evidence, REPORTS)
    write_json(REPORTS / "summary.json", evidence.summary)
    write_json(REPORTS / tracked.FIGURES, tracked.figures(evidence.summary, stage.params.gate.metric))
    write_text(REPORTS / tracked.VARIANTS, tracked.variants(evidence.summary, stage.params.gate.metric))
    write_page(page(evidence), stage.page_path)
    log.info("report: %s; open %s", plain.headline(evidence.summary, preferred(evidence.summary["variants"])), REPORTS / "index.html")


if __name__ == "__main__":
    stage_main("report", main, __doc__)
