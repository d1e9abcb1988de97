"""How a language model's tokenizer becomes data of a release: that of a directory, or one learned from the training texts."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from torch import nn

from slimline.artifact.border import told_as
from slimline.artifact.json_file import read_json
from slimline.data.windows import Windows
from slimline.errors import ArtifactError, DataError
from slimline.workloads.huggingface.net import body_of
from slimline.workloads.huggingface.tokenizer import TRIED, plain_tokenizer

GENERATION = "generation_config.json"
SOME = 20
"""Texts of the data that both tokenizers are held together on, and the characters of each."""
SHOWN_CHARACTERS = 2000
START = "<|endoftext|>"


def windows_of(folder: Path, net: nn.Module, window: int, texts: Sequence[str]) -> Windows:
    """The directory's tokenizer for windows of so many tokens; `texts` are some of the data.

    Raises:
        ArtifactError: there is none, it is written in Python alone, is too large, or does not go with the net.
        DataError: the net takes fewer tokens than a window has.
    """
    theirs, plain = plain_tokenizer(folder)
    config = body_of(net).config
    longest = _context(config, theirs)
    if window > longest:
        raise DataError(f"params.yaml: data.window: {window}, but the net of {folder} takes at most {longest} tokens; lower it")
    ends = _ends(folder, config, theirs)
    pad = next((number for number in (theirs.pad_token_id, *ends) if number is not None), 0)
    template = theirs.chat_template if isinstance(theirs.chat_template, str) else None
    found = Windows(
        tokenizer=plain,
        window=window,
        longest=longest,
        pad_id=pad,
        ends=ends,
        chat_template=template,
        bos_token=theirs.bos_token,
        eos_token=theirs.eos_token,
    )
    rows = body_of(net).get_input_embeddings().num_embeddings
    if (size := max(found.reader.get_vocab(with_added_tokens=True).values()) + 1) > rows:
        raise ArtifactError(f"{folder}: its tokenizer knows {size:,} tokens, its config.json {rows:,}; save both together")
    for text in (*TRIED, *(text[:SHOWN_CHARACTERS] for text in texts[:SOME])):
        with told_as(lambda reason: ArtifactError(f"{folder}: its tokenizer does not run: {reason}")):
            wanted = theirs(text)["input_ids"]
        if wanted != found.reader.encode(text).ids:
            raise ArtifactError(
                f"{folder}: {type(theirs).__name__} does more than its tokenizer.json says; a release could not do the same"
            )
    return found


def trained_windows(texts: Sequence[str], words: int, window: int, longest: int) -> Windows:
    """A byte-level BPE of `words` tokens learned from the texts; every text begins with START.

    Sennrich et al. 2016, "Neural Machine Translation of Rare Words with Subword Units", arXiv:1508.07909.
    """
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, processors, trainers

    made = Tokenizer(models.BPE())
    made.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    made.decoder = decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(vocab_size=words, initial_alphabet=alphabet, special_tokens=[START], show_progress=False)
    made.train_from_iterator(texts, trainer)
    made.post_processor = processors.TemplateProcessing(single=f"{START} $A", special_tokens=[(START, 0)])
    return Windows(tokenizer=json.loads(made.to_str()), window=window, longest=longest, pad_id=0, ends=(0,))


def _context(config: Any, theirs: Any) -> int:
    """The most tokens that the net takes."""
    named = (getattr(config, name, None) for name in ("max_position_embeddings", "n_positions", "max_seq_len", "seq_length"))
    limits = [limit for limit in (*named, theirs.model_max_length) if isinstance(limit, int) and 2 <= limit <= 10_000_000]
    return min(limits, default=2048)


def _ends(folder: Path, config: Any, theirs: Any) -> tuple[int, ...]:
    """The tokens that end an answer: those of generation_config.json, of the config, and of the tokenizer."""
    asked = read_json(folder / GENERATION).get("eos_token_id") if (folder / GENERATION).is_file() else None
    found: list[int] = []
    for given in (asked, getattr(config, "eos_token_id", None), theirs.eos_token_id):
        found += [one for one in (given if isinstance(given, list) else [given]) if isinstance(one, int)]
    return tuple(dict.fromkeys(found))
