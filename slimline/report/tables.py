"""The decision page's tables of detail."""

from collections.abc import Iterator, Mapping, Sequence, Set
from typing import Any

from markupsafe import Markup, escape

from slimline.params import TEACHER, Params
from slimline.report.numbers import ABSENT, loss, quantity, ratio, size
from slimline.report.page import Table
from slimline.report.plain import span

WIDE_FLOATS = ("bfloat16", "float16")


def half_table(rows: Sequence[Mapping[str, Any]], metric: str) -> Table:
    """The 16-bit rows, which are never mixed with the float32 ones."""
    found = [row for row in rows if row["precision"] in WIDE_FLOATS or row["method"] == "half"]
    columns = (
        "variant",
        "target",
        "weights in",
        "computes in",
        metric,
        "drop",
        "size",
        "smaller",
        "faster than float32 on the same target",
    )
    cells = tuple(
        (
            *(row["variant"], row["target"], row["precision"], row["computes"]),
            *(quantity(row["quality"][metric]["value"], row["drop"]["unit"]), loss(row["drop"]["value"], row["drop"]["unit"])),
            *(size(row["size_bytes"]), ratio(row["size_ratio"]), _with_interval(row["speed_ratio_same_runtime"]["batch_1"])),
        )
        for row in found
    )
    note = "Every other row runs in the precision that it names: float32 is forced where a runtime would choose 16 bits by itself."
    return Table("16-bit floats, as rows of their own", columns, cells, note)


def speed_table(rows: Sequence[Mapping[str, Any]]) -> Table:
    """Latency percentiles and speed ratios of every batch size, peak memory and energy."""
    batches = tuple(rows[0]["latency_ms"])
    figures = ("p50", "p95", "p99", "cold", "faster", "same target")
    names = tuple(f"{name}, {batch.replace('_', ' ')}" for batch in batches for name in figures)
    cells = tuple((row["variant"], row["target"], *_times(row, batches), size(row["peak_memory_bytes"]), _energy(row)) for row in rows)
    note = (
        "Times in ms per call, warm; cold is the first call after other processes had the machine. faster is the median ratio over "
        "launches on process CPU time against the teacher in eager PyTorch; same target is against the float32 teacher on the same "
        "target. Peak memory is that of a fresh process that only predicts."
    )
    reasons = sorted({row["energy_reason"] for row in rows if row["energy_mj"] is None and row["energy_reason"]})
    note += "".join(f" No energy: {reason.rstrip('.')}." for reason in reasons)
    return Table("Speed and memory in full", ("variant", "target", *names, "peak memory", "energy a call"), cells, note)


def _times(row: Mapping[str, Any], batches: Sequence[str]) -> Iterator[object]:
    for batch in batches:
        yield from (float(row["latency_ms"][batch][name]) for name in ("p50", "p95", "p99"))
        yield float(row["cold_latency_ms"][batch]["p50"])
        yield ratio(row["speed_ratio"][batch]["value"])
        yield ratio(row["speed_ratio_same_runtime"][batch]["value"])


def _energy(row: Mapping[str, Any]) -> str:
    return ABSENT if row["energy_mj"] is None else f"{row['energy_mj']:.3g} mJ"


def quality_table(rows: Sequence[Mapping[str, Any]]) -> Table:
    """Every metric, the flips both ways, the paired test, and what the model is made of."""
    metrics = tuple(rows[0]["quality"])
    columns = ("variant", "target", "precision", *metrics, "lost", "gained", "p value", "parameters", "non-zero", "MACs")
    cells = tuple(
        (
            *(row["variant"], row["target"], row["precision"]),
            *(quantity(row["quality"][name]["value"], row["quality"][name]["unit"]) for name in metrics),
            *_flips(row),
            float(row["drop"]["p_value"]),
            *(row["parameters"], row["nonzero"], row["macs"]),
        )
        for row in rows
    )
    note = "Lost: the teacher was right and the variant is not; gained: the other way round. The p value is of the paired test of the drop."
    return Table("Quality and size in full", columns, cells, note)


def _flips(row: Mapping[str, Any]) -> tuple[object, object]:
    return (None, None) if row["flips"] is None else (row["flips"]["lost"], row["flips"]["gained"])


def pages_table(params: Params, missing: Set[tuple[str, str | None]] = frozenset()) -> Table:
    """Links to the pages of every variant's stages; none to those of a (variant, target) that is missing."""
    cells = []
    for name in params.deploy.variants + tuple(name for name in params.variants if name not in params.deploy.variants):
        stage = params.variants[name][0] if name != TEACHER else TEACHER
        deployed = name in params.deploy.variants
        on = [_target_links(name, target) if deployed and (name, target) not in missing else ABSENT for target in params.deploy.targets]
        made_by = _link(stage, name, stage)
        cells.append((name, made_by + Markup(", ") + _link("teach", name, "teach") if name in params.teach else made_by, *on))
    cells.append(("all together", ABSENT, *(_link("time", target, "time") for target in params.deploy.targets)))
    return Table("Every page", ("variant", "made by", *params.deploy.targets), tuple(cells))


def _target_links(variant: str, target: str) -> Markup:
    return _link("compile", f"{variant}-{target}", "compile") + Markup(", ") + _link("evaluate", f"{variant}-{target}", "evaluate")


def _link(stage: str, page: str, words: str) -> Markup:
    return Markup('<a href="stages/{}/{}.html">{}</a>').format(escape(stage), escape(page), escape(words))


def _with_interval(measured: Mapping[str, Any]) -> str:
    return f"{ratio(measured['value'])} {span(measured['ci'], ratio)}"
