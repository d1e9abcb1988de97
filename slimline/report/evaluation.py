"""The page of one evaluation: a variant on a target beside the teacher in eager PyTorch. It may hold timings."""

from collections.abc import Mapping
from typing import Any

from slimline.report.figures import bar_figure
from slimline.report.numbers import milliseconds, percent, points, ratio
from slimline.report.page import Figure, Row, StagePage, Table
from slimline.verdict.words import moved
from slimline.verdict.zeros import zeros_remark

Facts = Mapping[str, Any]
WHO = {"baseline": "the teacher, eager PyTorch", "variant": "the variant", "same_runtime": "the teacher, same runtime"}


def evaluation_page(quality: Facts, timing: Facts) -> StagePage:
    """The page from the two files that evaluate writes; every difference on it is computed from them."""
    label = f"{quality['variant']}-{quality['target']}"
    return StagePage(
        stage="evaluate",
        variant=label,
        title=f"{quality['variant']} on {quality['target']}",
        summary=tuple(_summary(quality, timing)),
        comparison=(*_quality_rows(quality), *_size_rows(quality), *_time_rows(timing)),
        tables=(_interval_table(quality), _speed_table(timing), _class_table(quality), _machine_table(timing)),
        figures=(_latency_figure(quality, timing),),
        notes=tuple(_notes(quality, timing)),
    )


def _summary(quality: Facts, timing: Facts) -> list[str]:
    drop, flips, speed = quality["drop"], quality["flips"], timing["speed_ratio"]["batch_1"]
    return [
        f"On {quality['samples']:,} test samples {moved(drop)}: {flips['lost']:,} samples lost, {flips['gained']:,} gained.",
        f"{ratio(quality['size_ratio'])} smaller on disk and {ratio(speed['value'])} as fast at batch 1 "
        f"({ratio(speed['ci'][0])} to {ratio(speed['ci'][1])}) as the teacher in eager PyTorch; "
        f"weights in {quality['precision']}, arithmetic in {quality['computes']}.",
        *filter(None, (zeros_remark(quality, timing),)),
        f"This test set would have shown a true drop of {points(quality['detectable_drop'], signed=False)} or more with a power of 80 %.",
    ]


def _quality_rows(quality: Facts) -> list[Row]:
    before = quality["baseline"]["quality"]
    return [Row(name, before[name]["value"], figure["value"], "fraction", "higher") for name, figure in quality["quality"].items()]


def _size_rows(quality: Facts) -> list[Row]:
    before = quality["baseline"]
    return [
        Row("size on disk", before["size_bytes"], quality["size_bytes"], "bytes", "lower"),
        Row("parameters", before["parameters"], quality["parameters"], better="lower"),
        Row("non-zeros", before["nonzero"], quality["nonzero"], better="lower"),
        Row("MACs", before["macs"], quality["macs"], better="lower"),
    ]


def _time_rows(timing: Facts) -> list[Row]:
    before = timing["baseline"]["latency_ms"]
    rows = [
        Row(f"latency {level}, {_batch(name)}", before[name][level], value, "ms", "lower")
        for name, levels in timing["latency_ms"].items()
        for level, value in levels.items()
    ]
    return [*rows, Row("peak memory", timing["baseline"]["peak_memory_bytes"], timing["peak_memory_bytes"], "bytes", "lower")]


def _interval_table(quality: Facts) -> Table:
    rows = tuple(
        (name, figure["value"], *figure["ci"], quality["baseline"]["quality"][name]["value"], *quality["baseline"]["quality"][name]["ci"])
        for name, figure in quality["quality"].items()
    )
    columns = ("metric", "variant", "from", "to", "teacher", "from ", "to ")
    return Table("Quality with intervals", columns, rows, f"Bootstrap intervals at a confidence of {quality['confidence']:g}.")


def _speed_table(timing: Facts) -> Table:
    """Every ratio with both clocks."""
    against = {
        "teacher, eager PyTorch": "speed_ratio",
        f"teacher, {timing['same_runtime_baseline']['precision']}, same runtime": "speed_ratio_same_runtime",
    }
    rows = tuple(
        (_batch(batch), name, ratio(found["value"]), _span(found["ci"]), ratio(found["wall"]["value"]), _span(found["wall"]["ci"]))
        for name, key in against.items()
        for batch, found in timing[key].items()
    )
    floors = tuple(
        (_batch(batch), "itself (A/A)", ratio(found["ratio"]), _span(found["ci"]), None, None)
        for batch, found in timing["noise_floor"].items()
    )
    note = (
        f"Ratios above 1 are faster: medians of {timing['pairs']} interleaved pairs. "
        "A/A is the variant against a second process of itself: the noise."
    )
    return Table("Speed", ("batch", "against", "CPU time", "interval", "wall time", "interval "), (*rows, *floors), note)


def _class_table(quality: Facts) -> Table:
    rows = tuple((name, percent(found["baseline_recall"]), percent(found["recall"])) for name, found in quality["per_class"].items())
    return Table("Recall per class", ("class", "teacher", "variant"), rows)


def _machine_table(timing: Facts) -> Table:
    machine = timing["machine"]
    rows = [("processor", machine["cpu"]), ("instruction sets", ", ".join(machine["isa"]) or "none of note")]
    rows += [("cores", machine["cores"]), ("threads a runtime", machine["threads"])]
    rows += [(f"settings of {WHO[who]}", _settings(found)) for who, found in timing["runtimes"].items()]
    return Table("Machine", ("what", "value"), (*rows, *machine["versions"].items()))


def _latency_figure(quality: Facts, timing: Facts) -> Figure:
    series = {
        "teacher, the baseline": timing["baseline"]["latency_ms"],
        f"teacher, {quality['target']}": timing["same_runtime_baseline"]["latency_ms"],
        f"{quality['variant']}, {quality['target']}": timing["latency_ms"],
    }
    values = [found["batch_1"]["p50"] for found in series.values()]
    svg = bar_figure(list(series), values, x_label="model", y_label="latency at batch 1, p50", value_format=milliseconds)
    return Figure("Latency at batch 1", svg, "Wall time of single calls.")


def _notes(quality: Facts, timing: Facts) -> list[str]:
    notes = [
        f"Latency is the wall time of {timing['calls']['batch_1']:,} single calls at batch 1; ratios compare CPU time pair by pair.",
        "Peak memory is VmHWM of a fresh process that loaded the model and ran both batch sizes: Python, the runtime and, "
        "in eager PyTorch, what the workload's own module imports included.",
        "Size is every byte of the folder that one deploys, its manifest included.",
    ]
    energy = timing["energy_mj"]
    notes.append(
        f"Energy is not known: {timing['energy_reason']}."
        if energy is None
        else f"Energy: {energy:.3g} mJ a call at batch 1 ({timing['energy_reason']})."
    )
    if quality["nonzero"] < quality["parameters"]:
        notes.append("Non-zeros and MACs are those of the float weights; dense kernels compute zeros like any other number.")
    return notes


def _batch(name: str) -> str:
    return name.replace("_", " ")


def _span(interval: list[float]) -> str:
    return f"{ratio(interval[0])} to {ratio(interval[1])}"


def _settings(found: Facts) -> str:
    return ", ".join(f"{key} {value}" for key, value in sorted(found["execution"].items())) + f"; {found['threads']} OS threads"
