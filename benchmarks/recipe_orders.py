"""Prune -> int8 -> distil (arXiv 2604.04988), or prune -> distil -> int8 (arXiv 2511.19495)? Equal strengths, over seeds, on test.

    python benchmarks/recipe_orders.py --seeds 0,1,2,3 --out /tmp/orders
    python benchmarks/recipe_orders.py --workload cnn11m --seeds 0,1,2 --out /tmp/orders

A seed has its own split, teacher and trainings; both orders start from the same pruned net, have the same int8 and the same distillation
(epochs, learning rate, temperature, alpha) by the teacher. After int8 the student learns rounded, as its plan says. Judged by simulation of
the plan. What a seed gave is kept below --out. The difference of the drops is paired by seed and has Student's interval.
"""

import argparse
import json
import os
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from recipe_table import orders_markdown
from scipy.stats import t as student_t
from torch import nn

from slimline.artifact.folder import write_json, write_text
from slimline.calibration.statistics import collect_statistics
from slimline.data.batch import take
from slimline.data.samples import Samples
from slimline.methods import get_method
from slimline.methods.data import MethodData
from slimline.methods.distill.learner import learner
from slimline.methods.quantize.quantized import Quantized
from slimline.methods.quantize.simulate import simulate
from slimline.objectives import Objective, figures
from slimline.params import ChannelsParams, SoftTargetsParams, StaticParams, Training
from slimline.stage import fix_randomness
from slimline.training.fit import fit, scored
from slimline.workloads import get_workload

PROJECT = Path(__file__).resolve().parents[1]
SIZES = {"test_fraction": 0.4, "validation_fraction": 0.1, "calibration_samples": 128}
FIRST, SECOND = "prune → int8 → distil", "prune → distil → int8"
METRIC = "accuracy"


@dataclass(frozen=True)
class Setting:
    """A workload, and how its teacher, the recovery after pruning and the distillation are trained."""

    workload: str
    teacher: Training
    recover: Training
    taught: Training
    ratio: float


SETTINGS = {
    "digits": Setting(
        "digits",
        Training(epochs=20, learning_rate=0.002, patience=6),
        Training(epochs=2, learning_rate=0.001),
        Training(epochs=15, learning_rate=0.001),
        0.75,
    ),
    "cnn11m": Setting(
        f"{PROJECT}/benchmarks/workloads/cnn11m.py:Cnn11m",
        Training(epochs=8, learning_rate=0.001, patience=4),
        Training(epochs=1, learning_rate=0.001),
        Training(epochs=6, learning_rate=0.001),
        0.75,
    ),
}
"""Pruned hard with little recovery, so that there is something to teach."""


def method_data(parts: dict[str, Samples], objective: Objective, seed: int) -> MethodData:
    """As the stages give it."""
    calibration = parts["calibration"].inputs
    return MethodData(
        calibration=calibration,
        example=take(calibration, slice(0, 2)),
        train=parts["train"],
        validation=parts["validation"],
        objective=objective,
        metric=METRIC,
        seed=seed,
        collect=lambda model: collect_statistics(model, calibration, 32),
    )


def quantized(model: nn.Module, data: MethodData) -> Quantized:
    """Static int8 by the calibration sample."""
    config = StaticParams(source="x", method="static")
    made: Quantized = get_method("quantize", "static")(model, config, statistics=data.collect(model), data=data)
    return made


def taught(student: nn.Module, teacher: nn.Module, setting: Setting, data: MethodData) -> nn.Module:
    """The student after its distillation by the teacher."""
    config = SoftTargetsParams(source="x", method="soft_targets", **setting.taught.model_dump())
    made: nn.Module = get_method("distill", "soft_targets")(student, teacher, config, data=data).model
    return made


def one_seed(setting: Setting, seed: int) -> dict[str, Any]:
    """Both orders' drop on test beside the teacher, and what pruning alone lost."""
    began, workload = time.perf_counter(), get_workload(setting.workload)
    parts = {
        name: workload.samples({column: np.stack(table[column]) for column in table})
        for name, table in workload.splits(SIZES, seed).items()
    }
    data = method_data(parts, workload.objective, seed)
    fix_randomness(seed)
    teacher, _ = fit(workload.build_teacher(), config=setting.teacher, **data.settings)
    config = ChannelsParams(source="teacher", method="channels", ratio=setting.ratio, round_to=8)
    pruned, _ = fit(get_method("prune", "channels")(teacher, config, data=data).model, config=setting.recover, **data.settings)

    def accuracy(model: nn.Module) -> float:
        return float(figures(workload.objective, scored(model, parts["test"], workload.objective))[METRIC])

    planned = quantized(pruned, data)
    learning = learner(planned.model, planned.plan, planned.grids, data.example)
    model, plan = learning.learned(taught(learning.model, teacher, setting, data))
    assert plan is not None
    first = simulate(model, plan, learning.grids)
    after = quantized(taught(learner(pruned, None, {}, data.example).model, teacher, setting, data), data)
    second = simulate(after.model, after.plan, after.grids)
    before = accuracy(teacher)
    drops = {name: {"drop": before - accuracy(found)} for name, found in ((FIRST, first), (SECOND, second), ("prune alone", pruned))}
    return drops | {"teacher": {"drop": 1 - before}, "seconds": {"drop": time.perf_counter() - began}}


def difference(first: list[float], second: list[float], confidence: float = 0.95) -> dict[str, float]:
    """The mean of the paired differences, first less second, with Student's interval over the seeds."""
    apart = np.array(first) - np.array(second)
    half = float(student_t.ppf((1 + confidence) / 2, len(apart) - 1) * apart.std(ddof=1) / np.sqrt(len(apart)))
    return {"value": float(apart.mean()), "low": float(apart.mean()) - half, "high": float(apart.mean()) + half}


def main() -> None:
    """Every seed that is missing, then the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--workload", choices=tuple(SETTINGS), default="digits")
    parser.add_argument("--seeds", type=lambda text: tuple(map(int, text.split(","))), default=(0, 1, 2))
    parser.add_argument("--out", type=Path, required=True)
    asked = parser.parse_args()
    asked.out.mkdir(parents=True, exist_ok=True)
    path, load = asked.out / f"orders-{asked.workload}.json", f"load {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores at the beginning"
    kept: dict[str, Any] = json.loads(path.read_text())["seeds"] if path.exists() else {}
    for seed in asked.seeds:
        if str(seed) not in kept:
            kept[str(seed)] = one_seed(SETTINGS[asked.workload], seed)
            write_json(path, {"seeds": kept})
    chosen = {str(seed): kept[str(seed)] for seed in asked.seeds}
    first, second = ([of[chain]["drop"] for of in chosen.values()] for chain in (FIRST, SECOND))
    apart = difference(first, second) if len(chosen) > 1 else None
    write_json(path, {"seeds": kept, "drop_difference": apart})
    text = orders_markdown(chosen, (FIRST, SECOND, "prune alone"), apart, load)
    write_text(asked.out / f"orders-{asked.workload}.md", text)
    print(text)


if __name__ == "__main__":
    main()
