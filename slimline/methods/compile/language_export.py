"""A language model with the keys and values of earlier tokens as inputs and outputs, exported by transformers itself."""

import contextlib
import io
import warnings
from collections.abc import Callable, Iterator, Mapping
from typing import Any, cast

import torch
from torch import nn
from torch.export import Dim
from transformers import DynamicCache

from slimline.artifact.border import told_as
from slimline.artifact.closed import closed
from slimline.artifact.generating import CacheLayer, GenerationFacts, rotates_by_length
from slimline.artifact.signature import IDS, MASK
from slimline.errors import Impossible
from slimline.methods.compile.quiet import quiet
from slimline.methods.quantize.plan import Plan, layers_of_kind

ROWS, KNOWN, NEW = 2, 5, 4
"""Of the example that is traced: torch.export takes a size of 1 for one that never varies."""
UNBOUNDED = 1_000_000
"""The context of a net whose config sets none; the tokenizer's own limit holds."""
CHATTY = ("transformers", "torch.onnx", "torch.onnx._internal.exporter._registration", "onnxscript", "onnx_ir", "torch.utils._pytree")


def exported_with_cache(model: nn.Module, exporter: Any, config: Callable[..., Any]) -> Any:
    """What an exporter of transformers.exporters makes of `model.body`: the graph from any tokens and any earlier ones to logits.

    Free are the rows, the new tokens and the earlier ones; they are named, which spares the exporter finding them out.

    The one graph reads a prompt (no earlier tokens) and each next token, so that there is one copy of the weights.
    https://huggingface.co/docs/transformers/main_classes/exporters

    Raises:
        Impossible: transformers, or torch.export below it, cannot follow the net.
    """
    with quieted(), told_as(lambda reason: Impossible(f"compile: {type(model.body).__name__} cannot be exported with its cache: {reason}")):
        inputs, body = traced(model), closed(cast("nn.Module", model.body))
        return exporter.export(body, inputs, config=config(dynamic=True, dynamic_shapes=_free(inputs))).program


def require_free_ranges(plan: Plan | None) -> None:
    """Hold a plan to layers whose inputs are ranged while running, if at all: a graph with a cache is not calibrated.

    Raises:
        Impossible: one has a fixed range.
    """
    if plan is not None and (fixed := layers_of_kind(plan, "static")):
        raise Impossible(f"compile: {fixed[0]!r} has fixed input ranges, which a graph with a cache is not given; use dynamic ones")


def traced(model: nn.Module) -> dict[str, Any]:
    """The example: two rows of some new tokens, with keys and values of some earlier ones, as wide as the net's own layers make them."""
    body: Any = closed(cast("nn.Module", model.body))
    tokens = torch.arange(ROWS * (KNOWN + NEW)).reshape(ROWS, -1) % int(body.config.vocab_size)
    mask, cache = torch.ones_like(tokens), DynamicCache(config=body.config)
    with torch.no_grad():
        body(input_ids=tokens[:, :KNOWN], attention_mask=mask[:, :KNOWN], cache=cache, use_cache=True)
    positions = torch.arange(KNOWN, KNOWN + NEW).repeat(ROWS, 1)
    return {IDS: tokens[:, KNOWN:], MASK: mask, "position_ids": positions, "cache": cache}


def _free(inputs: Mapping[str, Any]) -> dict[str, Any]:
    """The free axes of each input: of keys and values [rows, heads, tokens, size] the rows and the tokens."""
    cache = [{0: Dim.AUTO, 2: Dim.AUTO} for _ in range(2 * len(inputs["cache"].layers))]
    return {name: cache if name == "cache" else {0: Dim.AUTO, 1: Dim.AUTO} for name in inputs}


def generation_facts(model: nn.Module) -> GenerationFacts:
    """What an engine has to know of the net, as its own layers show it."""
    body: Any = closed(cast("nn.Module", model.body))
    config: Any = body.config
    layers = tuple(CacheLayer(heads=layer.keys.shape[1], size=layer.keys.shape[3]) for layer in traced(model)["cache"].layers)
    context = int(getattr(config, "max_position_embeddings", None) or UNBOUNDED)
    turned = rotates_by_length(config)
    return GenerationFacts(vocabulary=int(config.vocab_size), context=context, layers=layers, rotates_by_length=turned)


@contextlib.contextmanager
def quieted() -> Iterator[None]:
    """Hold back what exporters say of their passes."""
    with quiet(*CHATTY), warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
        warnings.simplefilter("ignore")
        yield
