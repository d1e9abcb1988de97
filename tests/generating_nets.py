"""Tiny language models with a tokenizer learned from the standard library, and how one becomes a compiled folder."""

import functools
import json
from pathlib import Path
from typing import Any

import torch
from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
from torch import nn

from slimline.artifact.compiled import CompiledManifest
from slimline.artifact.folder import checksums, write_json
from slimline.artifact.manifest import write_manifest
from slimline.artifact.signature import InputSignature, Signature
from slimline.data.windows import Windows
from slimline.methods import get_generating
from slimline.model import PREPROCESSING
from slimline.workloads.huggingface.net import built

TEXT = Path(json.__file__).read_text(encoding="utf-8")
WORDS, CONTEXT = 400, 192
NETS: dict[str, dict[str, Any]] = {
    "llama": {
        "model_type": "llama",
        "hidden_size": 32,
        "intermediate_size": 64,
        "num_hidden_layers": 2,
        "num_attention_heads": 4,
        "num_key_value_heads": 2,
        "vocab_size": WORDS,
        "max_position_embeddings": CONTEXT,
        "tie_word_embeddings": True,
    },
    "gpt2": {"model_type": "gpt2", "n_embd": 32, "n_layer": 2, "n_head": 4, "vocab_size": WORDS, "n_positions": CONTEXT},
}


def language_net(kind: str = "llama") -> Any:
    """An untrained net whose answers are not all one token: its weights are four times as large as usual."""
    torch.manual_seed(0)
    net = built({"task": "causal-lm", "config": NETS[kind]}).eval()
    with torch.no_grad():
        for value in net.parameters():
            if value.dim() > 1:
                value.mul_(4)
    return net


@functools.cache
def windows() -> Windows:
    """A byte-level tokenizer of 400 tokens; token 0 ends a text."""
    reader = Tokenizer(models.BPE())
    reader.pre_tokenizer, reader.decoder = pre_tokenizers.ByteLevel(add_prefix_space=False), decoders.ByteLevel()
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    reader.train_from_iterator([TEXT], trainers.BpeTrainer(vocab_size=WORDS, initial_alphabet=alphabet, special_tokens=["<|end|>"]))
    return Windows(tokenizer=json.loads(reader.to_str()), window=32, longest=CONTEXT, pad_id=0, ends=(0,))


def compiled(folder: Path, target: str, net: nn.Module, plan: Any = None, grids: Any = None) -> Path:
    """What the stage compile leaves, without its parity."""
    folder.mkdir()
    ids = InputSignature(name="input_ids", dtype="int64", shape=(32,), varies={0: (2, CONTEXT)})
    signature = Signature(inputs=(ids, ids.model_copy(update={"name": "attention_mask"})))
    compiler: Any = get_generating(target)
    lowered = compiler(net, plan, folder, grids=grids or {}, example={}, calibration={}, signature=signature)
    write_json(folder / PREPROCESSING, windows().model_dump(mode="json"))
    manifest = CompiledManifest(
        workload="causal-lm",
        variant="tiny",
        target=target,  # type: ignore[arg-type]
        precision=lowered.precision,
        computes=lowered.computes,
        stage="teacher",
        method="train",
        source=None,
        lineage=("teacher",),
        signature=signature,
        objective={"name": "causal_lm"},
        source_sha256="0" * 64,
        execution=lowered.execution,
        files=checksums(folder),
    )
    write_manifest(folder, manifest)
    return folder
