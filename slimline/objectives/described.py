"""An objective as plain data and back: how a manifest says in which way a model's outputs are read.

A manifest may come from anywhere: it names an objective of the table below, never a module, and its settings are held to the types that
the objective's function declares.
"""

import importlib
import inspect
from collections.abc import Callable, Mapping
from typing import Any

from pydantic import validate_call

from slimline.artifact.border import told_as
from slimline.errors import ArtifactError
from slimline.objectives import Objective
from slimline.objectives.readings import LONGEST, NAME

OBJECTIVES: dict[str, str] = {
    name: f"slimline.objectives.{name}:{name}"
    for name in ("classification", "multilabel", "regression", "segmentation", "embedding", "causal_lm")
}
"""Objective -> the function that makes it of its settings, each of which is an attribute of what it makes."""


def is_known(facts: Mapping[str, Any]) -> bool:
    """Whether the plain data alone makes the objective; an outsider's own comes with its workload."""
    return isinstance(facts.get(NAME), str) and facts[NAME] in OBJECTIVES


def described(objective: Objective) -> dict[str, Any]:
    """An objective as plain data; one that is none of ours by its name alone."""
    if type(objective).__module__ != OBJECTIVES.get(objective.name, "").partition(":")[0]:
        return {NAME: objective.name}
    settings = {name: getattr(objective, name) for name in inspect.signature(_maker(objective.name)).parameters}
    return {NAME: objective.name, **{key: list(value) if isinstance(value, tuple) else value for key, value in settings.items()}}


def objective_of(facts: Mapping[str, Any]) -> Objective:
    """The objective of plain data.

    Raises:
        ArtifactError: it is none of ours, or its settings are none of its.
    """
    if not is_known(facts):
        raise ArtifactError(f"objective: {str(facts.get(NAME))[:LONGEST]!r} is none of {', '.join(OBJECTIVES)}; name its workload")
    make = validate_call(_maker(facts[NAME]))
    with told_as(lambda reason: ArtifactError(f"objective: {facts[NAME]}: {reason}")):
        return make(**{key: value for key, value in facts.items() if key != NAME})


def _maker(name: str) -> Callable[..., Objective]:
    module, _, function = OBJECTIVES[name].partition(":")
    found: Callable[..., Objective] = getattr(importlib.import_module(module), function)
    return found
