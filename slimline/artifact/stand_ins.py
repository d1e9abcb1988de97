"""Layers that stand where torch has none: attention with fewer heads than its width has room for, and a block that was dropped."""

import math
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional


class Attention(nn.Module):
    """Called as nn.MultiheadAttention is and computing the same, with any number of heads of any width.

    nn.MultiheadAttention cannot be without a head: its heads fill `embed_dim`. Vaswani et al. 2017 (arXiv 1706.03762). `fused` is for
    self-attention: one matrix makes queries, keys and values of the first input. Masks are those of nn.MultiheadAttention, where True
    (or minus infinity) hides a key; one mask a head is [N x heads, L, S] of the heads that are left.
    """

    in_proj_bias = None
    """Tells nn.TransformerEncoderLayer that its kernel for whole layers, which needs heads that fill the width, is not for this one."""

    def __init__(
        self,
        embed_dim: int,
        num_heads: int,
        head_dim: int,
        *,
        kdim: int,
        vdim: int,
        bias: bool,
        dropout: float,
        batch_first: bool,
        fused: bool,
    ) -> None:
        super().__init__()
        self.embed_dim, self.kdim, self.vdim = embed_dim, kdim, vdim
        self.num_heads, self.head_dim = num_heads, head_dim
        self.bias, self.dropout, self.batch_first, self.fused = bias, dropout, batch_first, fused
        inner = num_heads * head_dim
        if fused:
            self.in_proj = nn.Linear(embed_dim, 3 * inner, bias=bias)
        else:
            self.q_proj, self.k_proj = nn.Linear(embed_dim, inner, bias=bias), nn.Linear(kdim, inner, bias=bias)
            self.v_proj = nn.Linear(vdim, inner, bias=bias)
        self.out_proj = nn.Linear(inner, embed_dim, bias=bias)

    def forward(
        self,
        query: Tensor,
        key: Tensor,
        value: Tensor,
        key_padding_mask: Tensor | None = None,
        need_weights: bool = True,
        attn_mask: Tensor | None = None,
        average_attn_weights: bool = True,
        is_causal: bool = False,  # noqa: ARG002 (a hint for nn.MultiheadAttention: the mask itself is given too)
    ) -> tuple[Tensor, Tensor | None]:
        """[N, L, embed_dim] (or [L, N, …] without `batch_first`, or [L, …]) -> the same, and weights [N, L, S] where asked for."""
        single = query.dim() == 2
        q, k, v = self._projected(*(self._batch_first(x) for x in (query, key, value)))
        mask = _added(attn_mask, key_padding_mask[None] if single and key_padding_mask is not None else key_padding_mask, q)
        dropout = self.dropout if self.training else 0.0
        weights = None
        if need_weights:
            scores = q @ k.transpose(2, 3) / math.sqrt(self.head_dim)
            weights = functional.dropout(torch.softmax(scores if mask is None else scores + mask, dim=-1), dropout)
            mixed = weights @ v
        else:
            mixed = functional.scaled_dot_product_attention(q, k, v, mask, dropout)
        outputs = self.out_proj(mixed.transpose(1, 2).flatten(2))
        if weights is not None:
            weights = weights.mean(1) if average_attn_weights else weights
        if single:
            return outputs[0], None if weights is None else weights[0]
        return outputs if self.batch_first else outputs.transpose(0, 1), weights

    def _batch_first(self, x: Tensor) -> Tensor:
        if x.dim() == 2:
            return x.unsqueeze(0)
        return x if self.batch_first else x.transpose(0, 1)

    def _projected(self, query: Tensor, key: Tensor, value: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Queries [N, heads, L, head_dim], keys and values [N, heads, S, head_dim]."""
        if self.fused:
            q, k, v = self.in_proj(query).unflatten(-1, (3, self.num_heads, self.head_dim)).permute(2, 0, 3, 1, 4).unbind(0)
            return q, k, v
        heads = (self.num_heads, self.head_dim)
        q, k, v = self.q_proj(query), self.k_proj(key), self.v_proj(value)
        return q.unflatten(-1, heads).transpose(1, 2), k.unflatten(-1, heads).transpose(1, 2), v.unflatten(-1, heads).transpose(1, 2)


class Skip(nn.Module):
    """A residual block that was dropped: its input comes out as it went in, whatever else the block was called with.

    With `others` it comes in a tuple, and so many Nones behind it: blocks of some models give more than their output.
    """

    def __init__(self, others: int = 0) -> None:
        super().__init__()
        self.others = others

    def forward(self, x: Tensor, *_others: Any, **_options: Any) -> Any:
        """Any tensor -> the same."""
        return (x, *[None] * self.others) if self.others else x


def _added(attn_mask: Tensor | None, key_padding_mask: Tensor | None, queries: Tensor) -> Tensor | None:
    """Both masks as one that is added to the scores [N, heads, L, S], or None."""
    masks = []
    if attn_mask is not None:
        mask = _as_scores(attn_mask, queries)
        masks.append(mask.view(*queries.shape[:2], *mask.shape[1:]) if mask.dim() == 3 else mask)
    if key_padding_mask is not None:
        masks.append(_as_scores(key_padding_mask, queries)[:, None, None, :])
    return sum(masks[1:], masks[0]) if masks else None


def _as_scores(mask: Tensor, like: Tensor) -> Tensor:
    if mask.dtype != torch.bool:
        return mask.to(like.dtype)
    return torch.zeros_like(mask, dtype=like.dtype).masked_fill(mask, -math.inf)
