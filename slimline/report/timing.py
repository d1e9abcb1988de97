"""The page of one target's times: every deployed variant beside the teacher, warm and cold. Everything on it comes from a clock."""

from collections.abc import Iterator, Mapping
from typing import Any

from slimline.report.figures import bar_figure
from slimline.report.numbers import milliseconds, percent, ratio, size
from slimline.report.page import Figure, StagePage, Table

Facts = Mapping[str, Any]
EAGER = "teacher, eager PyTorch"

LANGUAGE_TABLES = (
    (
        "prefill",
        "Reading a prompt (prefill)",
        "Each prompt is a new one: no cache knows its beginning. The first token comes when it is read.",
    ),
    (
        "decode",
        "Going on, token by token (decode)",
        "Each of the 16 tokens after the first, by the clocks of the same answer. The gate judges this at batch 1 (above), after the "
        "longest prompt up to 256 tokens.",
    ),
)
"""Kind of figure, title and note."""


def timing_page(timing: Facts) -> StagePage:
    """The page from the file that the stage `time` writes; every figure on it is computed from that."""
    target = timing["target"]
    return StagePage(
        stage="time",
        variant=target,
        title=f"Times on {target}",
        summary=tuple(_summary(timing)),
        comparison=(),
        tables=(
            *(table(timing, batch) for table in (_speed_table, _latency_table) for batch in timing["baseline"]["latency_ms"]),
            *_length_tables(timing),
            *_language_tables(timing),
            _memory_table(timing),
            _machine_table(timing),
        ),
        figures=(_latency_figure(timing),),
        notes=tuple(_notes(timing)),
    )


def _summary(timing: Facts) -> Iterator[str]:
    variants = timing["variants"]
    if variants:
        fastest = max(variants, key=lambda name: float(variants[name]["speed_ratio"]["batch_1"]["value"]))
        speed = variants[fastest]["speed_ratio"]["batch_1"]
        yield (
            f"At batch 1 {fastest} is the fastest: {ratio(speed['value'])} ({_span(speed['ci'])}) as fast as the teacher in eager PyTorch, "
            f"{ratio(variants[fastest]['speed_ratio_same_runtime']['batch_1']['value'])} as fast as the teacher on {timing['target']}."
        )
    for name, reason in timing["failures"].items():
        yield f"{name} could not be timed: {reason}"


def _speed_table(timing: Facts, batch: str) -> Table:
    """How many times faster each variant is when warm, with the interval and the noise."""
    rows = tuple(
        (
            name,
            *(_with_span(found[key][batch]) for key in ("speed_ratio", "speed_ratio_same_runtime")),
            _with_span(found["speed_ratio"][batch]["wall"]),
            percent(found["noise_floor"][batch]["value"], 1),
        )
        for name, found in timing["variants"].items()
    )
    columns = ("variant", f"than {EAGER}", f"than the teacher on {timing['target']}", f"than {EAGER}, by wall time", "A/A noise")
    note = (
        f"Each ratio is the median over {timing['launches']} launches, {timing['pairs']} samples in all, in turns; its interval at a "
        f"confidence of {timing['confidence']:g} is over launches. A/A noise: how far the ratio of one launch lies from that of the next."
    )
    return Table(f"How many times faster at {batch.replace('_', ' ')}", columns, rows, note)


def _latency_table(timing: Facts, batch: str) -> Table:
    """Warm and cold latency, a row a model."""
    baseline, variants = timing["baseline"], timing["variants"]
    rows = [(EAGER, *_latencies(baseline, batch), None)]
    rows += [(name, *_latencies(found, batch), _with_span(found["cold_speed_ratio"][batch])) for name, found in variants.items()]
    note = "Wall time of single calls. A cold call is the first after other processes had the machine: what a rarely called model costs."
    columns = ("model", "p50, ms", "p95, ms", "p99, ms", "cold call, ms", f"times faster than {EAGER}, both cold")
    return Table(f"Latency at {batch.replace('_', ' ')}", columns, tuple(rows), note)


def _latencies(found: Facts, batch: str) -> tuple[float, ...]:
    warm, cold = found["latency_ms"][batch], found["cold_latency_ms"][batch]
    return warm["p50"], warm["p95"], warm["p99"], cold["p50"]


def _length_tables(timing: Facts) -> Iterator[Table]:
    """Latency and ratios of one sample at each length, where inputs differ in length."""
    if not timing["lengths"]:
        return
    rows = []
    for length, models in timing["lengths"].items():
        rows.append((int(length), EAGER, models["baseline"]["latency_ms"]["p50"], None, None))
        for name in timing["variants"]:
            found = models[name]
            ratios = (_with_span(found[key]) for key in ("speed_ratio", "speed_ratio_same_runtime"))
            rows.append((int(length), name, found["latency_ms"]["p50"], *ratios))
    columns = ("length", "model", "p50, ms", f"times faster than {EAGER}", f"than the teacher on {timing['target']}")
    note = "One sample, its axes that vary filled or cut to the length. The gate judges the speed of a sample's own length, above."
    yield Table("By length, at batch 1", columns, tuple(rows), note)


def _language_tables(timing: Facts) -> Iterator[Table]:
    """Of language models: how fast a prompt is read, and how fast an answer goes on, at each length and number of prompts."""
    baseline = timing["baseline"]
    for kind, title, note in LANGUAGE_TABLES if "prefill" in baseline else ():
        rows = []
        for length, batches in baseline[kind].items():
            for batch, found in batches.items():
                place = (int(length), int(batch.removeprefix("batch_")))
                rows.append((*place, EAGER, found["tokens_per_second"], found["latency_ms"]["p50"], None, None))
                for name, model in timing["variants"].items():
                    own = model[kind][length][batch]
                    ratios = (_with_span(own[key]) for key in ("speed_ratio", "speed_ratio_same_runtime"))
                    rows.append((*place, name, own["tokens_per_second"], own["latency_ms"]["p50"], *ratios))
        unit = "first token, p50, ms" if kind == "prefill" else "a token, p50, ms"
        beside = (f"times faster than {EAGER}", f"than the teacher on {timing['target']}")
        yield Table(title, ("tokens of a prompt", "prompts", "model", "tokens a second", unit, *beside), tuple(rows), note)


def _memory_table(timing: Facts) -> Table:
    models = {EAGER: timing["baseline"], **timing["variants"]}
    rows = tuple(
        (name, size(found["peak_memory_bytes"]), found["energy_mj"], _settings(found["runtime"])) for name, found in models.items()
    )
    note = (
        "Peak memory is VmHWM of a fresh process that loaded the model and ran both batch sizes: Python, the runtime and, in eager "
        f"PyTorch, what the workload's own module imports included. Energy: {timing['baseline']['energy_reason']}."
    )
    return Table("Memory and energy", ("model", "peak memory", "energy a call, mJ", "runs with"), rows, note)


def _machine_table(timing: Facts) -> Table:
    machine = timing["machine"]
    rows = [("processor", machine["cpu"]), ("instruction sets", ", ".join(machine["isa"]) or "none of note")]
    rows += [("cores", machine["cores"]), ("memory", f"{machine['memory_gib']} GiB"), ("threads a runtime", timing["threads"])]
    return Table("Machine", ("what", "value"), (*rows, *machine["versions"].items()))


def _latency_figure(timing: Facts) -> Figure:
    series = {EAGER: timing["baseline"], **timing["variants"]}
    values = [found["latency_ms"]["batch_1"]["p50"] for found in series.values()]
    svg = bar_figure(list(series), values, x_label="model", y_label="latency at batch 1, p50", value_format=milliseconds)
    return Figure("Latency at batch 1", svg, "Wall time of single warm calls.")


def _notes(timing: Facts) -> Iterator[str]:
    yield "Ratios above 1 are faster, and compare process CPU time, which tells models apart on a shared machine; wall time stands beside."
    unsteady = {name: sum(found["unsteady"].values()) for name, found in timing["variants"].items()}
    if loud := [f"{name} ({turns})" for name, turns in unsteady.items() if turns]:
        yield f"Turns that were timed although no two samples in a row agreed within half a second: {', '.join(loud)}."


def _with_span(found: Facts) -> str:
    return f"{ratio(found['value'])} ({_span(found['ci'])})"


def _span(interval: list[float]) -> str:
    return f"{ratio(interval[0])} to {ratio(interval[1])}"


def _settings(found: Facts) -> str:
    return ", ".join(f"{key} {value}" for key, value in sorted(found["execution"].items())) + f"; {found['threads']} OS threads"
