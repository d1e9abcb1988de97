"""The weights that a net of a Hugging Face directory starts from: those of the directory, as transformers itself reads them."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import nn

from slimline.artifact.border import told_as
from slimline.errors import ArtifactError
from slimline.workloads.huggingface.directory import read_config, weight_kinds
from slimline.workloads.huggingface.net import CAUSAL, LOADERS, Plain, body_of, following, require_accounted

from transformers import MODEL_MAPPING, AutoModelForCausalLM  # isort: skip

LEAST = 0.5
"""The share of a net's weights that the directory has to hold."""
SHOWN = 6


def start_from_(net: nn.Module, facts: Plain, folder: Path, labels: Sequence[str]) -> tuple[str, ...]:
    """Load the directory's weights into a net built from its config; what has no weights there keeps its own. What was done, in sentences.

    A head of as many classes comes with the weights, in the order of `labels` where its classes have the same names.

    Raises:
        ArtifactError: the directory's weights are refused, or are not this net's.
    """
    read_config(folder)
    body = body_of(net)
    require_accounted(net, weight_kinds(folder), str(folder))
    with told_as(lambda reason: ArtifactError(f"{folder}: transformers cannot read its weights: {reason}")):
        loaded, found = _loader(facts, body).from_pretrained(
            folder,
            config=body.config,
            dtype=torch.float32,
            local_files_only=True,
            use_safetensors=True,
            trust_remote_code=False,
            ignore_mismatched_sizes=True,
            output_loading_info=True,
        )
    new = {str(name) for name in found["missing_keys"]} | {str(entry[0]) for entry in found["mismatched_keys"]}
    values = {name: value for name, value in loaded.state_dict().items() if name not in new}
    _require_enough(body, values, folder)
    if broken := [name for name, value in values.items() if value.is_floating_point() and not value.isfinite().all()]:
        raise ArtifactError(f"{folder}: {broken[0]} holds NaN or infinity; save the model again")
    _require_shared(body, values, folder)
    told = _in_order_(values, facts, read_config(folder), labels, new)
    body.load_state_dict(values, strict=False)
    fresh = f"; drawn anew: {_short(sorted(new))}" if new else ""
    return f"It began with the weights of {folder}{fresh}.", *told


def _loader(facts: Plain, body: nn.Module) -> Any:
    return AutoModelForCausalLM if facts["task"] == CAUSAL else LOADERS.get(facts["task"]) or MODEL_MAPPING[type(body.config)]


def _require_enough(body: nn.Module, values: Mapping[str, torch.Tensor], folder: Path) -> None:
    """Hold the directory to having most of the net's weights.

    Raises:
        ArtifactError: it has less than LEAST of them.
    """
    whole, there = (sum(value.numel() for value in tensors.values()) for tensors in (body.state_dict(), values))
    if there < LEAST * whole:
        raise ArtifactError(
            f"{folder}: its weights are of another net than its config.json: {there:,} of {whole:,} numbers are there; save both together"
        )


def _require_shared(body: nn.Module, values: Mapping[str, torch.Tensor], folder: Path) -> None:
    """Hold weights that are one in the net to being one in the directory: transformers leaves them apart where both are stored and differ.

    Raises:
        ArtifactError: they differ, and the last one would stand for all.
    """
    first: dict[int, str] = {}
    for name, weight in body.named_parameters(remove_duplicate=False):
        if name in values and not torch.equal(values[name], values[other := first.setdefault(id(weight), name)]):
            raise ArtifactError(
                f"{folder}: {other} and {name} are one weight by its config.json, and hold other numbers; "
                "set tie_word_embeddings to false there"
            )


def _in_order_(values: dict[str, torch.Tensor], facts: Plain, config: Plain, labels: Sequence[str], new: set[str]) -> tuple[str, ...]:
    """Put the rows of a head that was loaded into the order of `labels`; what there is to say of its classes."""
    theirs = [str(name) for _, name in sorted((config.get("id2label") or {}).items(), key=lambda entry: int(entry[0]))]
    if not labels or len(theirs) != len(labels):
        return ()
    rows = following(facts, {"id2label": {place: str(place) for place in range(len(labels) + 1)}})
    if set(rows) & new:
        return ()
    if set(theirs) != set(labels):
        return (f"The head came with them; its classes are {_short(theirs)} there, and taken for {_short(labels)}, in this order.",)
    places = torch.tensor([theirs.index(label) for label in labels])
    for name, axes in rows.items():
        for axis in axes:
            values[name] = values[name].index_select(axis, places)
    return ("The head came with them, class by class.",)


def _short(names: Sequence[str]) -> str:
    return ", ".join(names[:SHOWN]) + (f" and {len(names) - SHOWN} more" if len(names) > SHOWN else "")
