"""Tiny language models of many architectures, as transformers writes them, with random weights, and tokens for them."""

from typing import Any

import torch
from torch import nn

from slimline.data.batch import Batch
from slimline.workloads.huggingface.net import built

VOCABULARY = 96
LAYERS = {"num_hidden_layers": 2, "vocab_size": VOCABULARY, "max_position_embeddings": 64}
SHAPE = {"hidden_size": 32, "num_attention_heads": 4, "intermediate_size": 64} | LAYERS
GROUPED = SHAPE | {"num_key_value_heads": 2}
SPECIAL = {"pad_token_id": 0, "bos_token_id": 1, "eos_token_id": 1}
GPT = {"n_embd": 32, "n_layer": 2, "n_head": 4, "n_positions": 64, "vocab_size": VOCABULARY} | SPECIAL
FALCON = {"hidden_size": 32, "num_attention_heads": 4, "num_hidden_layers": 2, "vocab_size": VOCABULARY} | SPECIAL
ARCHITECTURES: dict[str, dict[str, Any]] = {
    "llama": GROUPED | {"model_type": "llama", "tie_word_embeddings": True},
    "llama multi-head": SHAPE | {"model_type": "llama"},
    "llama multi-query": SHAPE | {"model_type": "llama", "num_key_value_heads": 1},
    "mistral": GROUPED | {"model_type": "mistral", "head_dim": 8, "sliding_window": 8},
    "qwen2": GROUPED | {"model_type": "qwen2"},
    "qwen3": GROUPED | {"model_type": "qwen3", "head_dim": 8},
    "gemma": GROUPED | {"model_type": "gemma", "head_dim": 8},
    "gemma3": GROUPED
    | {"model_type": "gemma3_text", "head_dim": 8, "sliding_window": 8, "layer_types": ["sliding_attention", "full_attention"]},
    "phi": GROUPED | {"model_type": "phi"},
    "phi3": GROUPED | SPECIAL | {"model_type": "phi3"},
    "gpt2": GPT | {"model_type": "gpt2"},
    "gpt_neox": SHAPE | {"model_type": "gpt_neox"},
    "opt": SPECIAL | {"model_type": "opt", "hidden_size": 32, "num_attention_heads": 4, "ffn_dim": 64, "word_embed_proj_dim": 32} | LAYERS,
    "bloom": SPECIAL | {"model_type": "bloom", "hidden_size": 32, "n_head": 4, "n_layer": 2, "vocab_size": VOCABULARY},
    "falcon": FALCON | {"model_type": "falcon", "multi_query": True, "new_decoder_architecture": False},
    "falcon multi-head": FALCON | {"model_type": "falcon", "multi_query": False, "new_decoder_architecture": False, "bias": True},
    "falcon new": FALCON | {"model_type": "falcon", "num_kv_heads": 2, "new_decoder_architecture": True},
}


def described(name: str, **changes: Any) -> dict[str, Any]:
    """A net of ARCHITECTURES as facts.json has it."""
    return {"task": "causal-lm", "config": ARCHITECTURES[name] | changes}


def language_net(name: str, **changes: Any) -> nn.Module:
    """One of ARCHITECTURES, with weights large enough that all of its parts matter."""
    torch.manual_seed(0)
    net = built(described(name, **changes))
    with torch.no_grad():
        for value in net.parameters():
            value.add_(torch.randn_like(value) * 0.1)
    return net.eval()


def tokens(rows: int = 8, length: int = 12, seed: int = 0) -> Batch:
    """Windows of random tokens, some of them filled up behind."""
    draw = torch.Generator().manual_seed(seed)
    ids = torch.randint(2, VOCABULARY, (rows, length), generator=draw)
    sizes = torch.randint(length // 2, length + 1, (rows, 1), generator=draw)
    there = (torch.arange(length)[None] < sizes).long()
    there[0] = 1
    return {"input_ids": ids * there, "attention_mask": there}
