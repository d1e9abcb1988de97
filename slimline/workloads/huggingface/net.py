"""Nets of transformers, built from their config alone: what every stage after `data` does, without the directory that it came from."""

import inspect
import json
from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from slimline.artifact.allowance import SPARE_BYTES
from slimline.artifact.border import told_as
from slimline.artifact.weight_header import Kind
from slimline.errors import ArtifactError, WorkloadError
from slimline.workloads.huggingface import offline  # noqa: F401 - before transformers

import transformers  # isort: skip
from transformers import (  # isort: skip
    CONFIG_MAPPING,
    MODEL_MAPPING,
    AutoModelForCausalLM,
    AutoModelForImageClassification,
    AutoModelForSequenceClassification,
)

transformers.logging.set_verbosity_error()
transformers.logging.disable_progress_bar()
Plain = Mapping[str, Any]
LOADERS = {"images": AutoModelForImageClassification, "text": AutoModelForSequenceClassification}
"""Of a workload without code: how the net is built that tells its classes apart, or gives its number."""
CAUSAL = "causal-lm"
"""The task of a language model."""
ATTENTION = ("sdpa", "eager")
"""The first one that an architecture has: what transformers itself takes."""
FLOAT_BYTES = 4


class Encoder(nn.Module):
    """A net without a head, whose vectors for the words of a text become one: their mean, or the first; of length 1 where asked."""

    def __init__(self, body: nn.Module, pooling: str, *, is_normalised: bool) -> None:
        super().__init__()
        self.body, self.pooling, self.is_normalised = body, pooling, is_normalised

    def forward(self, input_ids: Tensor, attention_mask: Tensor, token_type_ids: Tensor | None = None) -> Tensor:
        """Whole numbers [N, length] -> [N, width]."""
        more = {} if token_type_ids is None else {"token_type_ids": token_type_ids}
        words = self.body(input_ids=input_ids, attention_mask=attention_mask, **more).last_hidden_state
        if self.pooling == "cls":
            found = words[:, 0]
        else:
            there = attention_mask[:, :, None].to(words.dtype)
            found = (words * there).sum(1) / there.sum(1).clamp(min=1e-9)
        return functional.normalize(found, dim=1) if self.is_normalised else found


class CausalNet(nn.Module):
    """A language model, which gives logits for the token after each place; those of places that are filled up are 0, as nobody asks."""

    def __init__(self, body: nn.Module) -> None:
        super().__init__()
        self.body = body

    def forward(self, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
        """Whole numbers [N, tokens], filled up behind -> logits [N, tokens, vocabulary]."""
        found: Tensor = self.body(input_ids=input_ids, attention_mask=attention_mask, use_cache=False).logits
        return found.masked_fill(attention_mask[:, :, None] == 0, 0.0)


def parsed(plain: Plain, changes: Plain, where: str) -> Any:
    """A config of transformers from plain data, with some settings changed; `where` says whose it is.

    Raises:
        ArtifactError: transformers has no such architecture, or the config is none of its.
        WorkloadError: a change is of something that the config does not have.
    """
    kind = str(plain["model_type"])
    if kind not in CONFIG_MAPPING:
        raise ArtifactError(f"{where}: model_type {kind[:40]!r} is none that transformers {transformers.__version__} has")
    with told_as(lambda reason: ArtifactError(f"{where}: is no config of {kind}: {reason}")):
        config = CONFIG_MAPPING[kind].from_dict(dict(plain))
    known = config.to_dict()
    if unknown := sorted(set(changes) - set(known)):
        raise WorkloadError(f"unknown key {unknown[0]!r}; a config of {kind} has: {', '.join(sorted(known))}")
    with told_as(lambda reason: WorkloadError(f"{dict(changes)} is no change of a config of {kind}: {reason}")):
        return CONFIG_MAPPING[kind].from_dict({**plain, **changes})


def as_plain(config: Any) -> dict[str, Any]:
    """What of a config differs from transformers' own, as plain data."""
    found: dict[str, Any] = json.loads(config.to_json_string(use_diff=True))
    return {name: value for name, value in found.items() if name not in ("transformers_version", "architectures", "dtype")}


def built(net: Plain, changes: Plain = {}) -> nn.Module:  # noqa: B006 - read alone
    """The net that facts.json describes, untrained, float32; `changes` are settings of its config that are other ones.

    Raises:
        WorkloadError: a change is of something that the config does not have, or does not fit the rest.
    """
    return of_config(net, parsed(net["config"], changes, "facts.json: net"))


def of_config(net: Plain, config: Any) -> nn.Module:
    """The same from a config of transformers; of `net` only what it is for counts.

    Raises:
        WorkloadError: it cannot be built.
    """
    if net["task"] == CAUSAL:
        return CausalNet(_of_config(AutoModelForCausalLM.from_config, config))
    if net["task"] in LOADERS:
        return _of_config(LOADERS[net["task"]].from_config, config)
    made = MODEL_MAPPING[type(config)]
    options = {"add_pooling_layer": False} if "add_pooling_layer" in inspect.signature(made.__init__).parameters else {}
    body = _of_config(lambda given, **more: made._from_config(given, **options, **more), config)
    return Encoder(body, net["pooling"]["mode"], is_normalised=net["pooling"]["normalised"])


def _of_config(make: Any, config: Any) -> nn.Module:
    """The net with the first attention of ATTENTION that it has.

    Raises:
        WorkloadError: it cannot be built.
    """
    with told_as(lambda reason: WorkloadError(f"the config does not build a {config.model_type}: {reason}")):
        for place, attention in enumerate(ATTENTION):
            try:
                net: nn.Module = make(config, attn_implementation=attention, dtype=torch.float32)
            except ValueError:
                if place == len(ATTENTION) - 1:
                    raise
            else:
                return net
    raise AssertionError


def body_of(net: nn.Module) -> Any:
    """The net of transformers itself: an encoder or a language model holds one."""
    return net.body if isinstance(net, Encoder | CausalNet) else net


def sketched(net: Plain, changes: Plain = {}) -> nn.Module:  # noqa: B006 - read alone
    """The same on `meta`: shapes, and no memory."""
    with torch.device("meta"):
        return built(net, changes)


def require_accounted(net: nn.Module, stored: Mapping[str, Kind], where: str) -> None:
    """Hold a sketched net to the weights that are there: no more memory than they take as floats, and a new head's.

    Raises:
        ArtifactError: the config asks for more.
    """
    asked = sum(value.numel() for value in (*net.parameters(), *net.buffers())) * FLOAT_BYTES  # a tied weight once
    there = sum(torch.Size(kind.shape).numel() for kind in stored.values()) * FLOAT_BYTES
    if asked > there + SPARE_BYTES:
        raise ArtifactError(f"{where}: its config asks for {asked:,} bytes of weights, there are {there:,}; fetch the directory again")


def following(net: Plain, changes: Plain) -> dict[str, tuple[int, ...]]:
    """The tensors whose shape follows a change of the config: name -> the axes that change."""
    before, after = (made.state_dict() for made in (sketched(net), sketched(net, changes)))
    axes = {
        name: tuple(axis for axis, (one, other) in enumerate(zip(value.shape, after[name].shape, strict=True)) if one != other)
        for name, value in before.items()
        if name in after and value.dim() == after[name].dim()
    }
    return {name: found for name, found in axes.items() if found}


def with_labels(config: Any, labels: Sequence[str]) -> Any:
    """The config for these classes; of one number where there are none."""
    names = list(labels) or ["LABEL_0"]
    config.num_labels = len(names)  # a setting of its own in a few architectures (PVT)
    config.id2label, config.label2id = dict(enumerate(names)), {name: place for place, name in enumerate(names)}
    return config
