"""Mixed precision: each layer in the precision that it can bear, within a budget and an accuracy bound."""

import copy

from torch import nn

from slimline.methods.data import MethodData
from slimline.methods.macs import macs
from slimline.methods.quantize.mixed_candidates import Judge, Realised, candidates
from slimline.methods.quantize.mixed_cost import Candidates, byte_cost, goal, layer_macs, mac_cost
from slimline.methods.quantize.mixed_plan import Chosen, mixed_plan
from slimline.methods.quantize.mixed_search import Bound, Judged, Problem, assigned, reverted
from slimline.methods.quantize.plan import table_owners
from slimline.methods.quantize.quantized import Quantized
from slimline.methods.quantize.static import calibrated
from slimline.params.quantize import MixedParams
from slimline.training.records import Records

WORK = 2e13
"""Multiply-accumulates to spend on trying layers alone: some minutes on two cores."""


def mixed(model: nn.Module, config: MixedParams, *, statistics: Records, data: MethodData) -> Quantized:
    """Choose float, 16 bits, int8 or int4 for every Linear and convolution by measured harm, until budget and bound are met.

    1. Each layer is tried alone in each precision (simulated): the drop of the metric on validation and the divergence of
    the outputs (see mixed_candidates.py) are its harm. 2. From the most exact plan down, the step that saves most for each unit of harm is
    taken until the budget is met. 3. The whole plan is judged against the source; while it is beyond the bound, the layer whose
    step up gains most for its cost goes back, and `plan["mixed"]["reverted"]` says why. Where nothing holds the bound, the best
    plan that was seen is given, and says so. Dong et al. 2019, "HAWQ", arXiv:1905.03696; Nagel et al. 2021, arXiv:2106.08295.

    Raises:
        InputError: keep_float names a layer that does not exist.
        StageError: torch.export cannot follow the model, where batch norms are to be folded.
    """
    source = copy.deepcopy(model).eval()
    ready = calibrated(source, config, statistics=statistics, data=data)
    entries = candidates(ready, config, data)
    realised = Realised(ready, entries, config, data)
    size = byte_cost(source, ready.model, entries, data.calibration)
    latency = mac_cost(ready.model, layer_macs(ready.model, data.example), entries, config.mac_cost)
    whole, part = Judge.on(source, data), Judge.on(source, data, min(config.samples, affordable(source, entries, data)))
    alone = harms_alone(realised, part)
    problem = Problem(
        ladders={name: tuple(entries[name]) for name in alone},
        harms={name: {precision: judged.harm for precision, judged in found.items()} for name, found in alone.items()},
        cost=size if config.budget.size_ratio else latency,
        judge=lambda assignment: whole(realised.finished(assignment)),
        trial=lambda assignment: part(realised.corrected(assignment)),
    )
    bound = Bound(config.max_drop, config.max_flips)
    found = reverted(problem, assigned(problem, goal(config.budget)), bound, config.tries)
    return mixed_plan(realised.finished(found.assignment), config, Chosen(found, alone, entries, size, latency))


def affordable(model: nn.Module, entries: Candidates, data: MethodData) -> int:
    """On how many samples every layer can be tried in every precision with at most WORK multiply-accumulates; at least 1."""
    runs = sum(len(found) - 1 for found in entries.values())
    return max(int(WORK / (2 * max(runs, 1) * max(macs(model, data.example), 1))), 1)


def harms_alone(realised: Realised, judge: Judge) -> dict[str, dict[str, Judged]]:
    """Layer -> precision -> what the outputs mind when only that layer is changed; what shares an embedding's weight changes with it."""
    unchanged, owners = judge(realised.of({})), table_owners(realised.ready.model)
    return {
        name: {precision: unchanged if precision == "float32" else judge(realised.of({name: precision})) for precision in found}
        for name, found in realised.entries.items()
        if owners.get(name, name) == name
    }
