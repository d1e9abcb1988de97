"""The section `search` of params.yaml: which methods may be chained, at which strengths, and how long is looked."""

import itertools
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import ConfigDict, Field, ValidationError, field_validator, model_validator

from slimline.errors import MethodError
from slimline.params.explained import explained
from slimline.params.graph import TEACHER, VARIANT_NAME
from slimline.params.own import checked_entry, is_own, own_config_for
from slimline.params.section import Count, Fraction, Names, Number, Positive, Section, Text, VariantParams
from slimline.targets import Target

Configs = Mapping[str, Mapping[str, type[VariantParams]]]
FIXED = ("source", "method", "stage")
"""Of an entry that no strength may be."""
MOST_VALUES = 1000
"""Combinations of strengths that one method may have."""


class Offered(Section):
    """A method that chains may be made of: its entry without `source`, with a list of values where a strength is to be chosen.

    Every key but `stage` and `strengths` is one of the method's own.
    """

    model_config = ConfigDict(extra="allow")

    stage: Literal["prune", "quantize", "factorize", "distill"]
    method: Text
    strengths: dict[Text, Annotated[tuple[Any, ...], Field(min_length=1, max_length=100)]] = Field(default_factory=dict)
    """Name of a knob -> the values to choose from; `budget.macs` is `macs` within `budget`."""

    @model_validator(mode="after")
    def _few_enough(self) -> "Offered":
        if (count := self.combinations) > MOST_VALUES:
            raise ValueError(f"its strengths have {count:,} combinations; give at most {MOST_VALUES:,}")
        return self

    @model_validator(mode="after")
    def _knobs_have_their_place(self) -> "Offered":
        for knob in self.strengths:
            if (outer := knob.partition(".")[0]) in FIXED:
                raise ValueError(f"strengths.{knob}: the search sets {outer}; leave it out")
            if any(other.startswith(f"{knob}.") for other in self.strengths):
                raise ValueError(f"strengths.{knob}: holds another knob; give the whole of it, or its parts one by one")
            if (part := _no_mapping(self.model_extra or {}, knob.split(".")[:-1])) is not None:
                raise ValueError(f"strengths.{knob}: the entry's {part!r} holds no others; leave it out, or make it a mapping")
        return self

    @property
    def combinations(self) -> int:
        """How many strengths it can have in all."""
        count = 1
        for values in self.strengths.values():
            count *= len(values)
        return count

    def entry(self, chosen: Mapping[str, Any]) -> dict[str, Any]:
        """The entry of params.yaml, without its source, at the chosen strengths (knob -> value)."""
        made: dict[str, Any] = {"method": self.method, **_copied(self.model_extra or {})}
        for knob, value in chosen.items():
            *outer, last = knob.split(".")
            inner = made
            for part in outer:
                inner = inner.setdefault(part, {})
            inner[last] = _copied(value)
        return made

    def every_choice(self) -> Iterator[dict[str, Any]]:
        """Every combination of strengths."""
        for values in itertools.product(*self.strengths.values()):
            yield dict(zip(self.strengths, values, strict=True))


class Halving(Section):
    """Successive halving: all chains are trained briefly, the best of them in full."""

    epochs_share: Fraction = 0.2
    """The share of every training's epochs and steps that the first look has, at least one epoch; it trains no controls."""
    keep: Fraction = 0.34
    """The share of all chains looked at so far that is trained in full."""
    hopeless_drop: Positive | None = None
    """A chain that is worse than the teacher by more than this after the brief training goes no further; unset: ten times gate.max_drop."""


class SearchParams(Section):
    """What `slimline search` looks through, and how long; `gate` says what is asked of a chain."""

    methods: Annotated[dict[str, Offered], Field(min_length=1, max_length=50)]
    """Name -> a method; the name becomes part of the variants' names."""
    longest: Annotated[int, Number, Field(ge=1, le=6)] = 3
    """The most methods in a chain; each at most once."""
    targets: Annotated[tuple[Target, ...], Field(max_length=7)] = ()
    """Where the frontier is compiled and judged; empty: those of deploy. A chain that one of them does not take is never proposed."""
    minutes: Positive | None = None
    """New chains are begun for so long, over all calls; the frontier's judgement on test comes after it."""
    trials: Count | None = None
    """So many chains are tried; give it, minutes, or both."""
    at_once: Annotated[int, Number, Field(ge=1, le=100)] = 6
    """Chains that are proposed together, before the next are chosen by what came of them."""
    frontier: Annotated[int, Number, Field(ge=1, le=32)] = 4
    """The most chains that are compiled and judged on test."""
    beside: Names = ()
    """Variants of params.yaml that are judged with them, on the same machine in the same run."""
    halving: Halving = Halving()
    seed: Annotated[int, Number, Field(ge=0, lt=2**32)] = 0
    """Of the sampler; the trainings have the seed of params.yaml."""

    @field_validator("methods")
    @classmethod
    def _short_names(cls, methods: dict[str, Offered]) -> dict[str, Offered]:
        for name in methods:
            if not VARIANT_NAME.fullmatch(name) or len(name) > 24:
                raise ValueError(f"{name[:40]!r} is no name for a method here: a-z, 0-9 and '-', at most 24 characters")
        return methods

    @model_validator(mode="after")
    def _some_bound(self) -> "SearchParams":
        if self.minutes is None and self.trials is None:
            raise ValueError("give minutes, trials, or both: without a bound it would look for ever")
        return self


def search_problems(search: SearchParams, variants: Mapping[str, Any], configs: Configs, root: Path) -> Iterator[str]:
    """What is wrong with the offered methods and the variants named beside them, a line each."""
    for name, offered in search.methods.items():
        where = f"params.yaml: search.methods.{name}"
        try:
            known = configs[offered.stage].get(offered.method)
            kind = own_config_for(offered.stage, offered.method, root) if is_own(offered.method) else known
        except MethodError as error:
            yield f"{where}: {error}"
            continue
        if "source" in (offered.model_extra or {}):
            yield f"{where}.source: the search sets the source; leave it out"
        elif kind is None:
            yield f"{where}.method: unknown method {offered.method!r}; known: {', '.join(configs[offered.stage])}"
        else:
            yield from dict.fromkeys(_breaches(where, offered, kind))
    for name in search.beside:
        if name not in variants:
            yield f"params.yaml: search.beside: unknown variant {name!r}; known: {', '.join(variants)}"


def _breaches(where: str, offered: Offered, kind: type[VariantParams]) -> Iterator[str]:
    try:
        for chosen in offered.every_choice():
            yield from _said_of(where, kind, {"source": TEACHER, **offered.entry(chosen)})
    except MethodError as error:
        yield f"{where}: {error}"


def _said_of(where: str, kind: type[VariantParams], entry: Mapping[str, Any]) -> Iterator[str]:
    try:
        checked_entry(kind, entry)
    except ValidationError as error:
        yield from explained(error, where, kind, {})


def _no_mapping(entry: Mapping[str, Any], way: Sequence[str]) -> str | None:
    """The first part of a way into an entry that leads nowhere."""
    within: Any = entry
    for part in way:
        within = within.get(part, {})
        if not isinstance(within, Mapping):
            return part
    return None


def _copied(value: Any) -> Any:
    """Plain data of its own: what is built from it may be changed."""
    if isinstance(value, Mapping):
        return {key: _copied(inner) for key, inner in value.items()}
    return [_copied(inner) for inner in value] if isinstance(value, list | tuple) else value
