"""What a compiler tells about the graph that it has written."""

from dataclasses import dataclass, field


@dataclass(frozen=True)
class Lowered:
    """One compiled graph.

    `precision` is that of the stored weights, `computes` that of the arithmetic; `execution` holds the settings that the
    runtime needs to run it so; `layers` are those stored in the planned type; `float32_bytes` is the size of the same graph
    in float32; `operations_before` and `operations_after` count node types as exported and as the runtime runs them.
    """

    precision: str
    computes: str
    execution: dict[str, str] = field(default_factory=dict)
    layers: tuple[str, ...] = ()
    float32_bytes: int | None = None
    operations_before: dict[str, int] = field(default_factory=dict)
    operations_after: dict[str, int] = field(default_factory=dict)
    notes: tuple[str, ...] = ()
