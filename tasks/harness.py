"""Stage `harness`: lm-evaluation-harness on task files of one's own, a compiled language model beside the teacher on the same target.

in      harness.tasks (a folder of task files), data/compiled/<variant>-<target>, data/compiled/teacher-<target>
out     reports/metrics/harness/<variant>-<target>.json and the page
params  workload, seed, harness.{tasks,limit}, evaluate.{threads,resamples}, gate.confidence; harness.{variants,targets} say for which

The same documents are asked of both, so that differences are paired. Nothing here is judged by the gate.
"""

import logging
import math
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from slimline.artifact.compiled import read_compiled
from slimline.artifact.folder import sha256_of
from slimline.artifact.generating import GENERATION
from slimline.artifact.missed import require_made
from slimline.data.windows import Windows
from slimline.errors import StageError
from slimline.generation.harness import HarnessModel, evaluated
from slimline.generation.harness_tasks import TaskFile, read_tasks
from slimline.measure.resampled import studentised_drop, studentised_figure
from slimline.objectives import Metric, Scores
from slimline.params import TEACHER, Params
from slimline.report.harness import harness_page
from slimline.report.page import write_page
from slimline.runtime import load
from slimline.stage import Stage, stage_main, write_metrics
from tasks.missed import note_unmade

log = logging.getLogger(__name__)
COMPILED = Path("data/compiled")
ERROR, VALUE, ABOVE, BELOW = "error", "value", "above", "below"
CLOSE = 1e-9


def asked(folder: Path, tasks: Sequence[TaskFile], params: Params, limit: int | None) -> dict[str, Any]:
    """What the harness makes of one compiled model.

    Raises:
        StageError: the model generates nothing.
    """
    manifest = read_compiled(folder)
    if GENERATION not in manifest.files and manifest.target != "eager":
        raise StageError(f"harness: {folder.name} goes on from no prompt; compile it for openvino or onnxruntime")
    model = load(folder, threads=params.evaluate.threads, workload=params.workload)
    assert isinstance(model.preprocessing, Windows)
    judged = HarnessModel(model.predict, model.generator, model.preprocessing)
    return evaluated(judged, tasks, limit=limit, seed=params.seed)


def compared(before: Mapping[str, Any], after: Mapping[str, Any], params: Params) -> Iterator[dict[str, Any]]:
    """A row a task and metric: both figures with their intervals, and how much worse the second is on the same documents.

    Intervals are of figures that are means, or bits per byte; of others the figures alone are given.
    """
    for task, found in after["results"].items():
        for name, value in found.items():
            metric, _, chosen = name.partition(",")
            if not chosen or metric.endswith("_stderr"):
                continue
            better = "higher" if after["higher_is_better"][task].get(metric, True) else "lower"
            values = (float(before["results"][task][name]), float(value))
            tables = [scores_of(part["samples"][task], metric, chosen) for part in (before, after)]
            row = {"task": task, "metric": metric, "filter": chosen, "better": better, "documents": int(found["sample_len"])}
            yield row | {"baseline": values[0], "variant": values[1]} | _intervals(tables, values, better, params)


def scores_of(samples: Sequence[Mapping[str, Any]], metric: str, chosen: str) -> Scores | None:
    """The scores of a metric's documents in their order; None where they are neither numbers nor sums of nats over bytes."""
    rows = sorted((row for row in samples if row["filter"] == chosen), key=lambda row: row["doc_id"])
    values = [row.get(metric) for row in rows]
    if values and all(isinstance(value, int | float | np.number | np.bool_) for value in values):
        found = np.array(values, dtype=np.float64)
        return {VALUE: found, ERROR: found}
    if metric == "bits_per_byte" and values and all(isinstance(value, tuple | list) and len(value) == 2 for value in values):
        nats, sizes = np.array(values, dtype=np.float64).T
        return {ABOVE: -nats / math.log(2), BELOW: sizes, ERROR: nats}
    return None


def _intervals(tables: Sequence[Scores | None], values: Sequence[float], better: Any, params: Params) -> dict[str, Any]:
    """Intervals and the paired difference, where the documents' scores make the harness's own figures."""
    nothing = {"baseline_ci": None, "variant_ci": None, "worse_by": None, "worse_ci": None, "p_value": None}
    known = [table for table in tables if table is not None]
    if len(known) < len(tables) or len(known[0][ERROR]) < 2:
        return nothing
    column: dict[str, Any] = {"mean_of": VALUE} if VALUE in known[0] else {"ratio_of": (ABOVE, BELOW)}
    metric = Metric(_mean if VALUE in known[0] else _ratio, better=better, **column)
    if any(abs(metric.figure(table) - value) > CLOSE for table, value in zip(known, values, strict=True)):
        return nothing
    confidence, resamples = params.gate.confidence, params.evaluate.resamples
    single = [studentised_figure(metric, table, resamples, params.seed).interval(confidence) for table in known]
    drop, _ = studentised_drop(metric, known, resamples, params.seed)
    ends = drop.interval(confidence)
    p_value = 1.0 if drop.is_still and drop.value == 0 else drop.two_sided()
    return {
        "baseline_ci": list(single[0]),
        "variant_ci": list(single[1]),
        "worse_by": drop.value,
        "worse_ci": list(ends),
        "p_value": p_value,
    }


def _mean(scores: Scores) -> float:
    return float(np.mean(scores[VALUE]))


def _ratio(scores: Scores) -> float:
    return float(scores[ABOVE].sum() / scores[BELOW].sum())


def main(stage: Stage) -> None:
    """Ask the teacher and the variant the same, compare, write the metrics and the page."""
    folder, baseline = COMPILED / stage.label, COMPILED / f"{TEACHER}-{stage.target}"
    require_made(folder)
    entry = stage.params.harness[stage.label]
    tasks = read_tasks(Path(entry.tasks))
    before = asked(baseline, tasks, stage.params, entry.limit)
    after = before if stage.variant == TEACHER else asked(folder, tasks, stage.params, entry.limit)
    facts = {
        "schema": 1,
        "variant": stage.variant,
        "target": stage.target,
        "artifact_sha256": sha256_of(folder / "manifest.json"),
        "harness": after["lm_eval_version"],
        "confidence": stage.params.gate.confidence,
        "limit": entry.limit,
        "rows": list(compared(before, after, stage.params)),
    }
    write_metrics(stage, facts)
    page = harness_page(facts)
    write_page(page, stage.page_path)
    log.info("harness: %s: %s", stage.label, page.summary[0])


if __name__ == "__main__":
    stage_main("harness", main, __doc__, per="pair", on_miss=note_unmade)
