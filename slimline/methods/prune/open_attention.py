"""nn.MultiheadAttention, whose heads fill its width, as slimline.artifact.stand_ins.Attention, which may have fewer of them."""

import copy
from collections.abc import Mapping
from typing import Any, cast

import torch
from torch import nn

from slimline.artifact.stand_ins import Attention
from slimline.data.batch import Batch
from slimline.methods.layer_calls import run_hooked


def with_open_heads(model: nn.Module, example: Batch) -> tuple[nn.Module, tuple[str, ...]]:
    """A copy in which each nn.MultiheadAttention that runs is an Attention with the same outputs, and the names of these."""
    opened = copy.deepcopy(model).eval()
    fused: dict[str, bool] = {}
    handles = []
    for name, module in opened.named_modules():
        if isinstance(module, nn.MultiheadAttention) and module.bias_k is None and not module.add_zero_attn:
            handles.append(module.register_forward_pre_hook(_noting_self_attention(name, fused), with_kwargs=True))
    run_hooked(opened, example, handles)
    for name, is_self in fused.items():
        opened.set_submodule(name, _opened(cast("nn.MultiheadAttention", opened.get_submodule(name)), is_self), strict=True)
    for encoder in opened.modules():
        if isinstance(encoder, nn.TransformerEncoder) and any(isinstance(layer, Attention) for layer in encoder.modules()):
            encoder.use_nested_tensor = False  # it would nest padded inputs for a kernel that an Attention has not
    return opened, tuple(fused)


def _noting_self_attention(name: str, fused: dict[str, bool]) -> Any:
    def note(_module: nn.Module, given: tuple[Any, ...], options: Mapping[str, Any]) -> None:
        query, key, value = (*given, *(options[key] for key in ("query", "key", "value")[len(given) :]))[:3]
        fused[name] = fused.get(name, True) and query is key and key is value

    return note


def _opened(attention: nn.MultiheadAttention, is_self: bool) -> Attention:
    is_packed = attention._qkv_same_embed_dim
    shape: dict[str, Any] = {"kdim": attention.kdim, "vdim": attention.vdim, "bias": attention.in_proj_bias is not None}
    options: dict[str, Any] = {"dropout": attention.dropout, "batch_first": attention.batch_first, "fused": is_self and is_packed}
    opened = Attention(attention.embed_dim, attention.num_heads, attention.head_dim, **shape, **options)
    layers = [opened.in_proj] if opened.fused else [opened.q_proj, opened.k_proj, opened.v_proj]
    apart = (attention.q_proj_weight, attention.k_proj_weight, attention.v_proj_weight)
    made = {"weight": attention.in_proj_weight.chunk(len(layers)) if is_packed else apart}
    made |= {"bias": attention.in_proj_bias.chunk(len(layers))} if opened.bias else {}
    with torch.no_grad():
        for name, parts in made.items():
            for layer, part in zip((*layers, opened.out_proj), (*parts, attention.out_proj.get_parameter(name)), strict=True):
                layer.get_parameter(name).copy_(part)
    return opened.to(attention.out_proj.weight.dtype).train(attention.training)
