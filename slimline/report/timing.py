"""The page of one target's times: every deployed variant beside the teacher, warm and cold. Everything on it comes from a clock."""

from collections.abc import Iterator, Mapping
from typing import Any

from slimline.report.figures import bar_figure
from slimline.report.numbers import milliseconds, percent, ratio, size
from slimline.report.page import Figure, StagePage, Table

Facts = Mapping[str, Any]
EAGER = "teacher, eager PyTorch"


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
            *(_speed_table(timing, batch) for batch in timing["baseline"]["latency_ms"]),
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
    """Warm and cold latency and the ratios of one batch size, a row a model."""
    rows = [(EAGER, *_latencies(timing["baseline"], batch), None, None, None, None, None)]
    for name, found in timing["variants"].items():
        eager, same, cold = (found[key][batch] for key in ("speed_ratio", "speed_ratio_same_runtime", "cold_speed_ratio"))
        wall, floor = eager["wall"], found["noise_floor"][batch]
        ratios = (_with_span(eager), _with_span(same), _with_span(wall), _with_span(cold), percent(floor["value"], 1))
        rows.append((name, *_latencies(found, batch), *ratios))
    columns = (
        "model",
        "p50, ms",
        "p95, ms",
        "p99, ms",
        "cold call, ms",
        "faster",
        "than float32 here",
        "by wall time",
        "cold",
        "A/A noise",
    )
    note = (
        f"Each ratio is the median over {timing['launches']} launches, {timing['pairs']} samples in all, in turns; its interval at a "
        f"confidence of {timing['confidence']:g} is over launches. A cold call is the first after other processes had the machine: what a "
        "rarely called model costs. A/A noise: how far the ratio of one launch lies from that of the next."
    )
    return Table(f"Speed at {batch.replace('_', ' ')}", columns, tuple(rows), note)


def _latencies(found: Facts, batch: str) -> tuple[float, ...]:
    warm, cold = found["latency_ms"][batch], found["cold_latency_ms"][batch]
    return warm["p50"], warm["p95"], warm["p99"], cold["p50"]


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
