"""What a reader would want to be told beside the verdict: gains that are none, and where a gain really comes from."""

from collections.abc import Iterator, Mapping
from typing import Any

from slimline.verdict.place import place
from slimline.verdict.words import interval, times
from slimline.verdict.zeros import NOTICEABLE, zeros_remark

BATCH = "batch_1"
Facts = Mapping[str, Any]


def remarks(quality: Facts, timing: Facts) -> tuple[str, ...]:
    """Sentences with their numbers; none where nothing stands out."""
    told = (_flips(quality), _paper_size(quality), _runtime_gain(quality, timing), _unused_work(quality, timing))
    zeros = filter(None, (zeros_remark(quality, timing),))
    return tuple(sentence for sentences in (*told, zeros, _wall(timing)) for sentence in sentences)


def _flips(quality: Facts) -> Iterator[str]:
    if quality["flips"] is None:
        return
    lost, gained = quality["flips"]["lost"], quality["flips"]["gained"]
    if lost or gained:
        yield f"Of {quality['samples']:,} test samples it lost {lost:,} that the teacher had right and gained {gained:,} that it had wrong."


def _paper_size(quality: Facts) -> Iterator[str]:
    before, after = quality["baseline"]["nonzero"], quality["nonzero"]
    if before / max(after, 1) >= NOTICEABLE > quality["size_ratio"]:
        way_out = "; pack: sparse in params.yaml stores fewer" if quality["target"] == "eager" else ""
        yield (
            f"Smaller on paper, same bytes: {before:,} non-zeros became {after:,}, "
            f"yet {quality['baseline']['size_bytes']:,} bytes became {quality['size_bytes']:,}: "
            f"zeros are stored like any other number{way_out}."
        )


def _runtime_gain(quality: Facts, timing: Facts) -> Iterator[str]:
    eager, same = timing["speed_ratio"][BATCH], timing["speed_ratio_same_runtime"][BATCH]
    target = quality["target"]
    if quality["variant"] == "teacher" or target == "eager" or place(eager["ci"], 1.0) != "above":
        return
    seen = f"{times(same['value'])}, {interval(same['ci'], times)}"
    where = place(same["ci"], 1.0)
    if where == "below":
        yield f"Faster than eager PyTorch, but slower than the float32 teacher on {target} itself ({seen}): the gain is the runtime's."
    elif where == "unclear":
        yield f"Faster than eager PyTorch, not faster than the float32 teacher on {target} ({seen}): the gain is the runtime's."


def _unused_work(quality: Facts, timing: Facts) -> Iterator[str]:
    """Less to compute on paper, yet no less time on the same runtime: say the likely cause."""
    same = timing["speed_ratio_same_runtime"]
    if place(same[BATCH]["ci"], 1.0) == "above":
        return
    macs = quality["baseline"]["macs"] / max(quality["macs"], 1)
    if macs >= NOTICEABLE:
        yield f"MACs fell {times(macs)} but time at batch 1 did not ({times(same[BATCH]['value'])}): {_cause(same)}."


def _cause(same: Facts) -> str:
    larger = next((name for name in sorted(same) if name != BATCH), None)
    if larger and same[larger]["value"] >= NOTICEABLE:
        size = larger.removeprefix("batch_")
        return f"at batch {size} it is {times(same[larger]['value'])}, so the fixed cost of a call outweighs the work at batch 1"
    return "likely its layers are too thin to fill the vector units, or more of them cost more calls"


def _wall(timing: Facts) -> Iterator[str]:
    on_cpu = timing["speed_ratio"][BATCH]
    on_wall = on_cpu["wall"]
    apart = on_wall["ci"][1] < on_cpu["ci"][0] or on_cpu["ci"][1] < on_wall["ci"][0]
    if apart and max(on_cpu["value"] / on_wall["value"], on_wall["value"] / on_cpu["value"]) >= NOTICEABLE:
        cpu, wall = times(on_cpu["value"]), times(on_wall["value"])
        yield f"CPU time says {cpu} and wall time {wall}: other work or waiting came between, so CPU time decides."
