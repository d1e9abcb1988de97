"""generation.json: what an engine has to know of a compiled language model to go on from a prompt, as data."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final

import numpy as np
from pydantic import BaseModel, ConfigDict, Field

from slimline.artifact.border import told_as
from slimline.artifact.folder import write_json
from slimline.artifact.json_file import read_json
from slimline.artifact.signature import IDS, Arrays
from slimline.errors import ArtifactError, InputError

GENERATION: Final = "generation.json"
LONGEST_BYTES = 200_000
LONG_ROPE = "longrope"
LANGUAGE = "causal_lm"
"""The objective of language models."""


def require_known(arrays: Arrays, vocabulary: int) -> None:
    """Hold the inputs of a language model to tokens that it has.

    Raises:
        InputError: there is another one; where it stands is told.
    """
    tokens = arrays[IDS]
    if (unknown := (tokens < 0) | (tokens >= vocabulary)).any():
        sample, place = (int(number) for number in np.argwhere(unknown)[0])
        raise InputError(
            f"input {IDS!r}: sample {sample} holds {tokens[sample, place]} at place {place}; give tokens of the model's {vocabulary:,} "
            f"(0 to {vocabulary - 1})"
        )


def is_language(objective: Mapping[str, Any]) -> bool:
    """Whether a manifest's objective is that of a language model."""
    return objective.get("name") == LANGUAGE


def rotates_by_length(config: Any) -> bool:
    """Whether a net of transformers takes other frequencies for its rotary positions where the whole is longer.

    `config` is its own: one kind of positions, or one for each type of layer; older ones call it `rope_scaling`.
    https://huggingface.co/docs/transformers/internal/rope_utils
    """
    given = [getattr(config, name, None) for name in ("rope_parameters", "rope_scaling")]
    return any("dynamic" in kind or kind == LONG_ROPE for kind in _rope_types(given))


def _rope_types(given: Any) -> Iterator[str]:
    """The kinds of rotary positions, at any depth."""
    if isinstance(given, Mapping):
        yield from (str(value) for name, value in given.items() if name in ("rope_type", "type"))
    inner = given.values() if isinstance(given, Mapping) else given if isinstance(given, list) else ()
    for one in inner:
        yield from _rope_types(one)


class CacheLayer(BaseModel):
    """A layer's keys and values: so many heads of so many numbers a token."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    heads: int = Field(ge=1, le=4096)
    size: int = Field(ge=1, le=65536)


class GenerationFacts(BaseModel):
    """How many tokens there are, the most of prompt and answer together, and what each layer keeps of a token.

    `rotates_by_length`: the keys of a token are others in a longer prompt, so that those of one prompt serve no other.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    vocabulary: int = Field(ge=1, le=10_000_000)
    context: int = Field(ge=2, le=10_000_000)
    layers: tuple[CacheLayer, ...] = Field(min_length=1, max_length=1024)
    rotates_by_length: bool = False

    @property
    def token_bytes(self) -> int:
        """What the keys and values of one token take in float32."""
        return sum(2 * 4 * layer.heads * layer.size for layer in self.layers)


def write_generation(folder: Path, facts: GenerationFacts) -> None:
    """Store the facts beside the graph."""
    write_json(folder / GENERATION, facts.model_dump(mode="json", exclude_defaults=True))


def read_generation(folder: Path) -> GenerationFacts:
    """The facts of a compiled language model.

    Raises:
        ArtifactError: the file is missing or damaged.
    """
    path = folder / GENERATION
    with told_as(lambda reason: ArtifactError(f"{path}: is not what a language model needs to generate: {reason}; compile it again")):
        return GenerationFacts.model_validate(read_json(path, LONGEST_BYTES))
