"""How a directory's tokenizer makes numbers of a text, as a preprocessing: the same numbers without transformers."""

import inspect
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from torch import nn

from slimline.artifact.border import told_as
from slimline.artifact.json_file import read_json
from slimline.artifact.signature import IDS, MASK
from slimline.data.tokens import Tokens
from slimline.errors import ArtifactError
from slimline.workloads.huggingface.net import body_of

from transformers import AutoTokenizer  # isort: skip

NEEDED, TYPES = (IDS, MASK), "token_type_ids"
SENTENCE_LIMIT = "sentence_bert_config.json"
LONGEST_BYTES = 32_000_000
"""Of a tokenizer as JSON: it goes into every release."""
NO_LIMIT = 1_000_000
TRIED = ("A fine day.", "", "naïve café, 12,345.67 – is THIS read alike?\n\tYes!", "word " * 3000, "日本語 and emoji 🙂")
"""Texts that both are held together on, beside those of the data."""


def tokens_of(folder: Path, column: str, net: nn.Module, some: Sequence[str]) -> Tokens:
    """The directory's tokenizer as a preprocessing of the texts in `column`, for a net of that directory; `some` are texts of the data.

    Raises:
        ArtifactError: there is none, it is written in Python alone, is too large, or does not go with the net.
    """
    theirs, plain = plain_tokenizer(folder)
    if theirs.pad_token_id is None:
        raise ArtifactError(f"{folder}: its tokenizer has no pad_token, which fills up the shorter texts of a batch; set one and save it")
    found = Tokens(
        column=column,
        tokenizer=plain,
        inputs=inputs_of(net),
        longest=_longest(folder, theirs, net),
        pad_id=theirs.pad_token_id,
        side=theirs.padding_side,
    )
    _require_known(folder, found, net)
    _require_equal(folder, theirs, found, [*TRIED, *some])
    return found


def plain_tokenizer(folder: Path) -> tuple[Any, dict[str, Any]]:
    """The directory's tokenizer as transformers has it, and as plain data that neither fills up nor cuts.

    Raises:
        ArtifactError: there is none, it is written in Python alone, or is too large.
    """
    with told_as(lambda reason: ArtifactError(f"{folder}: holds no tokenizer that transformers can read: {reason}")):
        theirs = AutoTokenizer.from_pretrained(folder, local_files_only=True, trust_remote_code=False)
    if not theirs.is_fast:
        raise ArtifactError(f"{folder}: its tokenizer is written in Python alone; save one with a tokenizer.json beside the model")
    text = theirs.backend_tokenizer.to_str()
    if len(text) > LONGEST_BYTES:
        raise ArtifactError(f"{folder}: its tokenizer takes {len(text):,} bytes, at most {LONGEST_BYTES:,} go into a release")
    return theirs, json.loads(text) | {"padding": None, "truncation": None}


def inputs_of(net: nn.Module) -> tuple[Any, ...]:
    """What the net takes of what a tokenizer gives."""
    own = body_of(net)
    has_types = TYPES in inspect.signature(own.forward).parameters and getattr(own.config, "type_vocab_size", 0) > 1
    return (*NEEDED, TYPES) if has_types else NEEDED


def _longest(folder: Path, theirs: Any, net: nn.Module) -> int:
    """The most tokens that tokenizer, directory and net take."""
    limits = [int(min(theirs.model_max_length, NO_LIMIT))]
    if (folder / SENTENCE_LIMIT).is_file() and isinstance(limit := read_json(folder / SENTENCE_LIMIT).get("max_seq_length"), int):
        limits.append(limit)
    for name, module in net.named_modules():
        if name.endswith("position_embeddings") and isinstance(module, nn.Embedding):
            limits.append(module.num_embeddings - (0 if module.padding_idx is None else module.padding_idx + 1))
    return min(limits)


def _require_known(folder: Path, found: Tokens, net: nn.Module) -> None:
    """Hold the net to having a row for every token.

    Raises:
        ArtifactError: the tokenizer gives more.
    """
    rows = body_of(net).get_input_embeddings().num_embeddings
    if (size := max(found.reader.get_vocab(with_added_tokens=True).values()) + 1) > rows:
        raise ArtifactError(f"{folder}: its tokenizer knows {size:,} tokens, its config.json {rows:,}; save both together")


def _require_equal(folder: Path, theirs: Any, found: Tokens, texts: Sequence[str]) -> None:
    """Hold both to the same numbers, in a batch.

    Raises:
        ArtifactError: they differ.
    """
    options = {"padding": True, "truncation": True, "max_length": found.longest, "return_token_type_ids": TYPES in found.inputs}
    with told_as(lambda reason: ArtifactError(f"{folder}: its tokenizer does not run: {reason}")):
        wanted = theirs(list(texts), return_tensors="np", **options)
    ours = found({found.column: list(texts)})
    if any(not np.array_equal(wanted[name], ours[name]) for name in found.inputs):
        raise ArtifactError(f"{folder}: {type(theirs).__name__} does more than its tokenizer.json says; a release could not do the same")
