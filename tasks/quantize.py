"""Stage `quantize`: plan which layers get 8 or 16 bits, over which ranges, and judge the plan by simulation.

in      data/models/{<source>,teacher}, data/calibration, data/prepared/{calibration,validation}.parquet
out     data/models/<variant>: the source's weights, unchanged, and quantization.json, the plan that compile lowers
params  workload, seed, calibrate, gate.metric, quantize.<variant>
"""

from typing import Any

from torch import nn

from slimline.calibration.statistics import CalibrationStatistics
from slimline.errors import StageError
from slimline.methods import get_method
from slimline.methods.quantize.plan import Plan, estimated_bytes
from slimline.methods.quantize.simulate import layer_sqnr, simulate
from slimline.params import DynamicParams, HalfParams, StaticParams
from slimline.report.figures import bar_figure
from slimline.report.page import Figure, Table
from slimline.stage import Stage, stage_main
from slimline.workloads.prepared import load_split
from tasks.variant import Outcome, load_origin, save_outcome, source_statistics

FLOAT = "float32"


def run(model: nn.Module, config: StaticParams | DynamicParams | HalfParams, statistics: CalibrationStatistics | None) -> Plan:
    """The plan for a model; `statistics` is what its own calibration showed, for the methods that read it.

    Raises:
        StageError: every layer would stay in float32.
    """
    plan: Plan = get_method("quantize", config.method)(model, config, statistics=statistics)
    reasons = sorted({str(layer["reason"]) for layer in plan["layers"].values() if layer["precision"] == FLOAT})
    if all(layer["precision"] == FLOAT for layer in plan["layers"].values()):
        why = "; ".join(reasons) or "the model has no Linear or convolution"
        raise StageError(f"quantize: no layer would be quantized ({why}); change params.yaml: quantize, or remove the variant")
    return plan


def described(plan: Plan, statistics: CalibrationStatistics | None) -> tuple[str, ...]:
    """What was planned, in sentences."""
    layers = plan["layers"].values()
    smaller = [layer for layer in layers if layer["precision"] != FLOAT]
    what = f"{len(smaller)} of {len(layers)} layers planned as {smaller[0]['precision']}."
    activations = sum(layer["activations"] for layer in smaller)
    if statistics is not None:
        seen = f"{statistics.samples_run} calibration samples in {statistics.batches_run} batches"
        return what, f"Input ranges by {plan['observer']} over {seen} of the source itself."
    if plan["method"] == "dynamic":
        return what, f"The inputs of {activations} of them are ranged while running; the others compute in float."
    return what, "Computed in 16 bits only where the target and the CPU can; compile says where."


def plan_table(plan: Plan, sqnr: dict[str, float]) -> Table:
    """The plan, layer by layer."""
    rows = tuple(
        (name, layer["type"], layer["precision"], _range_text(layer), sqnr.get(name), layer["reason"] or "")
        for name, layer in plan["layers"].items()
    )
    note = "SQNR: the layer's output with and without its own quantization, on the source's inputs; about 20 dB and less deserves a look."
    return Table("The plan, layer by layer", ("layer", "type", "weights", "input range", "SQNR, dB", "why in float"), rows, note)


def _range_text(layer: dict[str, Any]) -> str:
    if layer["input_range"] is not None:
        return "{:.4g} to {:.4g}".format(*layer["input_range"])
    return "while running" if layer["activations"] and layer["precision"] == "int8" else "float"


def main(stage: Stage) -> None:
    """Read the source, plan, judge by simulation on validation, save the weights unchanged with the plan."""
    origin, calibration = load_origin(stage), load_split(stage.workload, "calibration").inputs
    model = origin.source.model
    statistics = source_statistics(stage, origin) if stage.config.needs_data else None
    plan = run(model, stage.config, statistics)
    sqnr = {name: round(value, 2) for name, value in layer_sqnr(model, plan, calibration).items()}
    estimate = estimated_bytes(model, plan)
    figure = Figure("SQNR by layer", bar_figure(tuple(sqnr), tuple(sqnr.values()), x_label="layer", y_label="SQNR, dB"))
    outcome = Outcome(
        model,
        described(plan, statistics),
        plan=plan,
        judged=simulate(model, plan),
        size_bytes=estimate,
        details={"plan": plan, "sqnr_db": sqnr, "size_is": "estimated from the plan"},
        tables=(plan_table(plan, sqnr),),
        figures=(figure,),
        notes=(
            "The weights are the source's; the kernels belong to the runtimes, so compile lowers this plan for each target.",
            "Quality here is that of the plan simulated in float32. The size is an estimate of the weights alone, batch norms folded.",
        ),
    )
    save_outcome(stage, origin, outcome)


if __name__ == "__main__":
    stage_main("quantize", main, __doc__, per="variant")
