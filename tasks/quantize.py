"""Stage `quantize`: plan which layers get 4, 8 or 16 bits, over which ranges, and judge the plan by simulation.

in      data/models/{<source>,teacher}, data/calibration, data/prepared/{calibration,validation}.arrow, and train.arrow by
        methods that train
out     data/models/<variant>: weights (the source's own, unless the method rounds or trains them) and quantization.json, the plan
        that compile lowers; quantization.safetensors where grids are stored
params  workload, seed, calibrate, gate.metric, quantize.<variant>
"""

from collections.abc import Container, Mapping
from typing import Any, cast

from torch import nn

from slimline.calibration.draws import Draws, over_draws
from slimline.calibration.statistics import CalibrationStatistics
from slimline.data.batch import count, take
from slimline.methods import get_method
from slimline.methods.data import MethodData
from slimline.methods.layer_use import uses_of
from slimline.methods.quantize.mixed_plan import missed
from slimline.methods.quantize.plan import FEW, FLOAT, Kind, Plan, kind, layers_of_kind, require_some, smallest_precision
from slimline.methods.quantize.quantized import Quantized
from slimline.methods.quantize.simulate import layer_sqnr, simulate
from slimline.methods.quantize.stored_bytes import NO_PLAN, stored_bytes, stored_parts
from slimline.methods.quantize.token_ranges import token_ranged
from slimline.methods.transposed import with_linear_layers
from slimline.params import QuantizeParams, StaticParams
from slimline.report.draws import draws_tables, draws_text
from slimline.report.figures import bar_figure
from slimline.report.float_rest import float_rest_table, float_rest_text
from slimline.report.mixed import mixed_figures, mixed_tables
from slimline.report.page import Figure, Table
from slimline.stage import Stage, stage_main
from slimline.training.fit import held_together
from tasks.method_data import method_data, other_samples
from tasks.outcome import Outcome, Sizes
from tasks.variant import load_origin, note_missed, save_outcome

SIZE_IS = "that of every parameter and buffer as planned, batch norms folded, without what describes the graph"
WAYS: dict[Kind, str] = {
    "static": "with int8 inputs over a calibrated range.",
    "dynamic": "with int8 inputs that are ranged while running.",
    "weights": "with integer weights that are unpacked and computed in float.",
    "half": "in 16 bits, computed so only where the target and the CPU can; compile says where.",
    "float": "left in float32.",
}


def run(model: nn.Module, config: QuantizeParams, statistics: CalibrationStatistics | None, data: MethodData) -> Quantized:
    """What the method makes of a model; `statistics` is what the model's own calibration showed, for the methods that read it.

    Raises:
        StageError: every layer would stay in float32.
    """
    made: Quantized = get_method("quantize", config.method)(model, config, statistics=statistics, data=data)
    require_some(made.plan, model, getattr(config, "keep_float", ()), data)
    return made


def described(plan: Plan, statistics: CalibrationStatistics | None) -> tuple[str, ...]:
    """What was planned, in sentences."""
    counts = {name: len(layers_of_kind(plan, name)) for name in WAYS}
    planned = f"{len(plan['layers']) - counts['float']} of {len(plan['layers'])} layers planned as {smallest_precision(plan)}."
    ways = tuple(f"{counts[name]} {text}" for name, text in WAYS.items() if counts[name])
    if statistics is not None and counts["static"]:
        seen = f"{statistics.samples_run} calibration samples in {statistics.batches_run} batches of the source itself"
        ways = (*ways, f"Input ranges by {plan['observer']} over {seen}.")
    return planned, *ways, *missed(plan)


def plan_table(plan: Plan, sqnr: Mapping[str, float | None], by_token: Container[str]) -> Table:
    """The plan, layer by layer; `by_token` are the layers whose inputs have a range for each token."""
    ranges = {name: "each token's own" if name in by_token else _range_text(layer) for name, layer in plan["layers"].items()}
    rows = tuple(
        (name, layer["type"], layer["precision"], _grid_text(layer), ranges[name], sqnr.get(name), layer["reason"] or "")
        for name, layer in plan["layers"].items()
    )
    note = "SQNR: the layer's output with and without its own quantization, on the source's inputs; about 20 dB and less deserves a look."
    columns = ("layer", "type", "weights", "grid", "input range", "SQNR, dB", "why so")
    return Table("The plan, layer by layer", columns, rows, note)


def _grid_text(layer: dict[str, Any]) -> str:
    if layer["granularity"] is None:
        return ""
    group = f" of {layer['group_size']}" if layer["group_size"] else ""
    return f"{layer['granularity']}{group}, {'symmetric' if layer['symmetric'] else 'asymmetric'}"


def _range_text(layer: dict[str, Any]) -> str:
    if layer["input_range"] is not None:
        return "{:.4g} to {:.4g}".format(*layer["input_range"])
    return "while running" if kind(layer) == "dynamic" else "float"


def float_bytes(model: nn.Module, data: MethodData) -> int:
    """The bytes of a model without a plan, counted as those of a planned one."""
    return stored_bytes(model, NO_PLAN, uses_of(model, take(data.calibration, slice(0, FEW))))


def draws_of(stage: Stage, model: nn.Module, made: Quantized, data: MethodData) -> Draws | None:
    """How the variant fares over draws of the calibration sample; None for methods that read none, or that take minutes a draw."""
    if not isinstance(stage.config, StaticParams) or stage.params.calibrate.draws == 1:
        return None
    return over_draws(model, made, stage.config, data, other_samples(stage), stage.params.calibrate.batch_size)


def main(stage: Stage) -> None:
    """Read the source, plan, judge by simulation on validation, save the weights with the plan."""
    origin = load_origin(stage)
    model = with_linear_layers(origin.source.model)
    data = method_data(stage, origin)
    statistics = cast("CalibrationStatistics", data.collect(model)) if stage.config.needs_data else None
    made = run(model, stage.config, statistics, data)
    twin = simulate(made.model, made.plan, made.grids)
    held = held_together(model, data.validation, most=count(data.calibration))
    found = layer_sqnr(made.reference or made.model, twin, made.plan["layers"], take(data.calibration, slice(0, held)))
    sqnr = {name: round(value, 2) for name, value in found.items()}
    shown = {name: None if made.plan["layers"][name]["precision"] == FLOAT else value for name, value in sqnr.items()}
    parts = stored_parts(made.model, made.plan, uses_of(made.model, take(data.calibration, slice(0, FEW))), made.grids)
    teacher_bytes, source_bytes = (float_bytes(each, data) for each in (origin.teacher.model, model))
    drawn, unit = draws_of(stage, model, made, data), stage.workload.objective.metrics[stage.metric].unit
    draws = None if drawn is None else drawn.facts
    figure = Figure("SQNR by layer", bar_figure(tuple(shown), tuple(shown.values()), x_label="layer", y_label="SQNR, dB"))
    outcome = Outcome(
        made.model,
        (*described(made.plan, statistics), *draws_text(draws, unit), float_rest_text(parts)),
        made.history,
        plan=made.plan,
        grids=made.grids,
        judged=twin,
        sizes=Sizes(sum(part.small + part.kept for part in parts), teacher_bytes, source_bytes),
        details={"plan": made.plan, "sqnr_db": sqnr, "size_is": SIZE_IS, "float_bytes": sum(part.kept for part in parts)}
        | ({} if draws is None else {"draws": draws}),
        tables=(
            *mixed_tables(made.plan),
            *draws_tables(draws, unit),
            plan_table(made.plan, shown, token_ranged(made.plan, made.grids)),
            float_rest_table(parts, made.plan),
        ),
        figures=(*mixed_figures(made.plan), figure),
        notes=(
            *made.notes,
            "The kernels belong to the runtimes, so compile lowers this plan for each target.",
            f"Quality here is that of the plan simulated in float32. The size is {SIZE_IS}.",
        ),
    )
    save_outcome(stage, origin, outcome)


if __name__ == "__main__":
    stage_main("quantize", main, __doc__, per="variant", on_miss=note_missed)
