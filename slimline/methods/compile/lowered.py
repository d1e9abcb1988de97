"""What a compiler tells about the graph that it has written."""

from dataclasses import dataclass, field


@dataclass(frozen=True)
class Lowered:
    """One compiled graph.

    `precision` is that of the stored weights, `computes` that of the arithmetic; `execution` holds the settings that the
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
