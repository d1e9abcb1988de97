"""What a variant will not bring, said before it is tried: the rules of its stage, each measured once and told with its figure."""

from collections.abc import Iterator
from pathlib import Path

from slimline.artifact.weight_header import weight_shapes
from slimline.commands import advice_edit, advice_quantize
from slimline.commands.advice_case import Case, Rule, recurrent_layers, stored_layers
from slimline.measure.machine import fingerprint
from slimline.params import Params

MODELS = Path("data/models")
RULES: dict[str, tuple[Rule, ...]] = {"prune": advice_edit.RULES, "quantize": advice_quantize.RULES, "factorize": advice_edit.RULES}
"""Stage -> its rules; a variant is told of each that applies."""


def warnings(params: Params, root: Path) -> tuple[str, ...]:
    """One line for each rule that applies to a variant that is deployed."""
    isa = frozenset(fingerprint()["isa"])
    return tuple(
        f"{case.variant}: {found}; measured: {rule.measured} ({rule.where})"
        for stage, case in _cases(params, root, isa)
        for rule in RULES[stage]
        if (found := rule.found(case)) is not None
    )


def _cases(params: Params, root: Path, isa: frozenset[str]) -> Iterator[tuple[str, Case]]:
    for name, (stage, config) in params.variants.items():
        if name in params.deploy.variants and stage in RULES:
            stored = (weight_shapes(root / MODELS / source) for source in params.lineage(name)[1:])
            nearest = next((shapes for shapes in stored if shapes), {})
            yield stage, Case(name, config, params.deploy.targets, stored_layers(nearest), isa, recurrent_layers(nearest))
