"""Chains of methods: which orders the methods' own declarations allow, and how large the space of chains is."""

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from slimline.params import TEACHER, StudentTraining, VariantParams, config_class
from slimline.params.search import Offered, SearchParams

LETTERS = {"prune": "P", "factorize": "L", "distill": "D", "quantize": "Q"}
"""Stage -> its letter in the name of an order, as papers write them."""
Order = tuple[str, ...]
"""Names of offered methods, the one that starts from the teacher first."""
STUDENT, SOURCE_LAYERS = "student", "source_layers"
"""Keys by which a distillation says who learns."""


@dataclass(frozen=True)
class Step:
    """One method of a chain at its strengths: knob -> value."""

    name: str
    offered: Offered
    chosen: Mapping[str, Any]


def legal_orders(search: SearchParams, targets: Sequence[str]) -> tuple[Order, ...]:
    """Every order of at most `longest` different methods that `may_follow` allows, and whose end every target takes."""
    configs = {name: _some_config(offered) for name, offered in search.methods.items()}
    return tuple(order for order in _orders(search, configs) if _is_taken(search, configs, order, targets))


def knobs(search: SearchParams, order: Order) -> tuple[dict[str, tuple[Any, ...]], ...]:
    """The strengths to choose from, a mapping for each method of the order; a variant that is the student itself has no other student."""
    return tuple(
        {knob: values for knob, values in search.methods[name].strengths.items() if index == 0 or not _says_student(search, name, knob)}
        for index, name in enumerate(order)
    )


def letters(search: SearchParams, order: Order) -> str:
    """The techniques of an order, such as PLQ."""
    return "".join(LETTERS[search.methods[name].stage] for name in order)


def space_size(search: SearchParams, orders: Sequence[Order]) -> int:
    """How many different chains there are."""
    total = 0
    for order in orders:
        total += math.prod(len(values) for of in knobs(search, order) for values in of.values())
    return total


def _orders(search: SearchParams, configs: Mapping[str, VariantParams], begun: Order = ()) -> Iterator[Order]:
    source_stage = _kind(search, begun)
    for name, config in configs.items():
        if name not in begun and _may_come(config, source_stage, is_first=not begun):
            yield (*begun, name)
            if len(begun) + 1 < search.longest:
                yield from _orders(search, configs, (*begun, name))


def _may_come(config: VariantParams, source_stage: str, *, is_first: bool) -> bool:
    """Whether a method takes what a chain is so far; a distillation that is not the first has it as its student."""
    if isinstance(config, StudentTraining) and not is_first:
        return not config.takes_no_variant
    return source_stage in config.may_follow


def _kind(search: SearchParams, begun: Order) -> str:
    """The stage whose kind of variant a chain ends in: one that is the student itself is still what it was, quantized or not."""
    kept = [search.methods[name].stage for index, name in enumerate(begun) if index == 0 or search.methods[name].stage != "distill"]
    return kept[-1] if kept else TEACHER


def _is_taken(search: SearchParams, configs: Mapping[str, VariantParams], order: Order, targets: Sequence[str]) -> bool:
    """Whether every target takes what the order ends in."""
    ends = [name for index, name in enumerate(order) if index == 0 or search.methods[name].stage != "distill"][-1:]
    return all(configs[name].refused_by(target) is None for name in (*ends, order[-1]) for target in targets)


def _says_student(search: SearchParams, name: str, knob: str) -> bool:
    return search.methods[name].stage == "distill" and knob.partition(".")[0] in (STUDENT, SOURCE_LAYERS)


def _some_config(offered: Offered) -> VariantParams:
    """A method's config at any of its strengths; which stages it may follow is the same for all."""
    kind = config_class(offered.stage, offered.method)
    return kind.model_validate({"source": TEACHER, **offered.entry(next(offered.every_choice()))})
