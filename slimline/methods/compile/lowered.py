"""What a compiler tells about the graph that it has written."""

from collections.abc import Iterable
from dataclasses import dataclass, field

from slimline.data.signature import Signature
from slimline.errors import Impossible

ARITHMETIC = ("int8", "float16", "bfloat16", "float32")


@dataclass(frozen=True)
class Lowered:
    """One compiled graph.

    `precision` is that of the stored weights, `computes` that of the arithmetic (see `arithmetic`); `execution` holds the settings that the
    runtime needs to run it so; `layers` are those stored in the planned type. `weight_bytes` is what all constants take,
    `float32_weight_bytes` what they take in float32, and `float32_bytes` the size of the whole graph in float32.
    `operations_before` and `operations_after` count node types as exported and as the runtime runs them.
    """

    precision: str
    computes: str
    execution: dict[str, str] = field(default_factory=dict)
    layers: tuple[str, ...] = ()
    weight_bytes: int = 0
    float32_weight_bytes: int = 0
    float32_bytes: int = 0
    operations_before: dict[str, int] = field(default_factory=dict)
    operations_after: dict[str, int] = field(default_factory=dict)
    notes: tuple[str, ...] = ()


def require_fixed(why: str, signature: Signature) -> None:
    """Hold the inputs to one size each, for a target that takes no other.

    Raises:
        StageError: an axis of an input varies.
    """
    if varying := [one for one in signature.inputs if one.varies]:
        one = varying[0]
        largest = [one.varies.get(axis, (size, size))[1] for axis, size in enumerate(one.shape)]
        way_out = f"let inputs() pad every sample to {largest}, or deploy on onnxruntime, openvino or inductor"
        raise Impossible(f"compile: input {one.name!r} is {one.text}, and {why}; {way_out}")


def arithmetic(types: Iterable[str]) -> str:
    """The types in which layers compute, those left in float32 included, in the same words for every target: smallest first, by `+`."""
    found = set(types)
    return "+".join(name for name in ARITHMETIC if name in found) or "float32"
