"""A language model of the Llama family as one GGUF file, for llama.cpp and what reads its format."""

import copy
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

import gguf
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from slimline.artifact.border import told_as
from slimline.data.batch import Batch
from slimline.data.padding import there_of
from slimline.errors import InputError, StageError
from slimline.workloads.huggingface.gguf_tokenizer import require_alike, write_tokenizer
from slimline.workloads.huggingface.net import body_of

import transformers  # isort: skip

Kind = Literal["F32", "F16", "Q8_0", "Q5_1", "Q5_0", "Q4_1", "Q4_0"]
ARCHITECTURES = ("llama",)
"""model_type of the configs that are written: one layout of weights, and its rotation of queries and keys."""
GROUP = 32
"""How many weights of a row share a scale in all of these kinds."""
NAMES = {
    "model.embed_tokens.weight": "token_embd.weight",
    "model.norm.weight": "output_norm.weight",
    "lm_head.weight": "output.weight",
    "input_layernorm.weight": "attn_norm.weight",
    "post_attention_layernorm.weight": "ffn_norm.weight",
    "self_attn.q_proj.weight": "attn_q.weight",
    "self_attn.k_proj.weight": "attn_k.weight",
    "self_attn.v_proj.weight": "attn_v.weight",
    "self_attn.o_proj.weight": "attn_output.weight",
    "mlp.gate_proj.weight": "ffn_gate.weight",
    "mlp.up_proj.weight": "ffn_up.weight",
    "mlp.down_proj.weight": "ffn_down.weight",
}
FILE = "model.gguf"
TOLERANCE = 1e-3


def write_gguf(
    model: nn.Module,
    tokenizer: Mapping[str, Any],
    kind: Kind,
    path: Path,
    samples: Batch,
    *,
    ends: Sequence[int] = (),
    chat_template: str | None = None,
) -> dict[str, Any]:
    """Write a language model into a new file; matrices are rounded to `kind` by the package gguf, norms and what has odd rows stay float32.

    `ends` are the tokens that end an answer, the config's where none are given; a file names one of them. What transformers loads from
    there is held to the outputs that the rounded weights give on `samples`, and to the tokens that `tokenizer` makes of a few texts.
    Returned are the file's bytes, and the share of places at which it has the model's likeliest next token.

    Raises:
        InputError: the model is not of a family that is written, or its tokenizer is none that llama.cpp has.
        StageError: the file gives something else than its weights.
    """
    body = body_of(model)
    config = body.config
    if config.model_type not in ARCHITECTURES:
        raise InputError(f"export-gguf: a {config.model_type} is not written, {' and '.join(ARCHITECTURES)} are; use export-hf")
    with tempfile.TemporaryDirectory(prefix=".gguf-", dir=path.parent) as place:
        writer = gguf.GGUFWriter(str(Path(place) / FILE), "llama")
        write_tokenizer(writer, tokenizer, config, ends, chat_template)
        _write(writer, config, dict(_tensors(body, config)), kind)
        require_alike(Path(place), FILE, tokenizer, chat_template)
        agreement = _agreement(model, kind, Path(place), samples)
        (Path(place) / FILE).rename(path)
    return {"bytes": path.stat().st_size, "agreement": agreement}


def _tensors(body: nn.Module, config: Any) -> Iterator[tuple[str, Tensor]]:
    """The weights by their names in the file."""
    tied = bool(config.tie_word_embeddings)
    for name, value in body.state_dict().items():
        if name == "lm_head.weight" and tied:
            continue
        parts = name.split(".")
        inside = parts[:2] == ["model", "layers"]
        ending = ".".join(parts[3:]) if inside else name
        if ending not in NAMES:
            raise InputError(f"export-gguf: {name} has no place in a GGUF file of {config.model_type}; use export-hf")
        found = value.detach().float()
        if ending.startswith(("self_attn.q_proj", "self_attn.k_proj")):
            heads = config.num_attention_heads if "q_proj" in ending else config.num_key_value_heads
            found = rotated_by_pairs(found, heads)
        yield f"blk.{parts[2]}.{NAMES[ending]}" if inside else NAMES[ending], found


def rotated_by_pairs(weight: Tensor, heads: int) -> Tensor:
    """Rows of a query's or key's weight in llama.cpp's order: it rotates neighbours, transformers the two halves of a head."""
    halves = weight.reshape(heads, 2, weight.shape[0] // heads // 2, *weight.shape[1:])
    return halves.swapaxes(1, 2).reshape(weight.shape)


def _write(writer: Any, config: Any, tensors: Mapping[str, Tensor], kind: Kind) -> None:
    _write_settings(writer, config)
    for name, value in tensors.items():
        data, stored = _stored(value.numpy(), kind)
        writer.add_tensor(name, data, raw_dtype=stored)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def _stored(value: NDArray[np.float32], kind: Kind) -> tuple[NDArray[Any], Any]:
    wanted = gguf.GGMLQuantizationType[kind]
    if value.ndim < 2 or value.shape[1] % GROUP:
        return value, gguf.GGMLQuantizationType.F32
    return gguf.quants.quantize(value, wanted), wanted


def _write_settings(writer: Any, config: Any) -> None:
    width = int(config.head_dim or config.hidden_size // config.num_attention_heads)
    rope = dict(getattr(config, "rope_parameters", None) or {})
    if rope.get("rope_type", "default") != "default":
        raise InputError(f"export-gguf: rope of type {rope['rope_type']} is not written; use export-hf")
    writer.add_block_count(config.num_hidden_layers)
    writer.add_context_length(config.max_position_embeddings)
    writer.add_embedding_length(config.hidden_size)
    writer.add_feed_forward_length(config.intermediate_size)
    writer.add_head_count(config.num_attention_heads)
    writer.add_head_count_kv(config.num_key_value_heads)
    writer.add_key_length(width)
    writer.add_value_length(width)
    writer.add_rope_dimension_count(width)
    writer.add_rope_freq_base(float(rope.get("rope_theta", 10000.0)))
    writer.add_layer_norm_rms_eps(float(config.rms_norm_eps))
    writer.add_vocab_size(config.vocab_size)


def rounded(model: nn.Module, kind: Kind) -> nn.Module:
    """A copy whose matrices are what the file holds of them."""
    twin = copy.deepcopy(model).eval()
    with torch.no_grad():
        for value in body_of(twin).parameters():
            data, stored = _stored(value.detach().numpy(), kind)
            value.copy_(torch.from_numpy(np.array(gguf.quants.dequantize(data, stored))))
    return twin


def _agreement(model: nn.Module, kind: Kind, folder: Path, samples: Batch) -> float:
    """At which share of places the file's net, as transformers loads it, gives the model's likeliest next token.

    Raises:
        StageError: it does not give what the rounded weights do.
    """
    with told_as(lambda reason: StageError(f"export-gguf: transformers does not load what was written: {reason}")):
        loaded = transformers.AutoModelForCausalLM.from_pretrained(folder, gguf_file=FILE, dtype=torch.float32, local_files_only=True)
    there = there_of(samples).bool()
    with torch.inference_mode():
        wanted, held = model.eval()(**samples)[there], rounded(model, kind)(**samples)[there]
        found = loaded.eval()(**samples, use_cache=False).logits[there]
    if not torch.allclose(held, found, rtol=0, atol=TOLERANCE * max(1.0, float(held.abs().max()))):
        raise StageError("export-gguf: the file would give other outputs than the weights in it; use export-hf, and report it")
    return float((wanted.argmax(1) == found.argmax(1)).double().mean())
