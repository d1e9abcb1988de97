"""Attention as people write it, for tests: input [N, 4, 8], three classes, four heads of width 4."""

import torch
from torch import Tensor, nn
from torch.nn import functional

WIDTH, HEADS, HEAD_DIM = 16, 4, 4


class Fused(nn.Module):
    """One matrix for queries, keys and values, one part after another; as timm writes it."""

    def __init__(self) -> None:
        super().__init__()
        self.num_heads, self.head_dim, self.attn_dim = HEADS, HEAD_DIM, WIDTH
        self.qkv, self.proj = nn.Linear(WIDTH, 3 * WIDTH), nn.Linear(WIDTH, WIDTH)

    def forward(self, x: Tensor) -> Tensor:
        samples, length, _ = x.shape
        q, k, v = self.qkv(x).reshape(samples, length, 3, self.num_heads, self.head_dim).permute(2, 0, 3, 1, 4).unbind(0)
        x = functional.scaled_dot_product_attention(q, k, v)
        return self.proj(x.transpose(1, 2).reshape(samples, length, self.attn_dim))


class ByHead(Fused):
    """The same matrix, with the three parts of each head together; as GPT-NeoX has it."""

    def forward(self, x: Tensor) -> Tensor:
        q, k, v = self.qkv(x).unflatten(-1, (self.num_heads, 3 * self.head_dim)).transpose(1, 2).chunk(3, dim=-1)
        return self.proj(functional.scaled_dot_product_attention(q, k, v).transpose(1, 2).flatten(2))


class SelfAttention(nn.Module):
    """Three matrices, and the output elsewhere; as BERT has it."""

    def __init__(self) -> None:
        super().__init__()
        self.num_attention_heads, self.attention_head_size, self.all_head_size = HEADS, HEAD_DIM, WIDTH
        self.query, self.key, self.value = (nn.Linear(WIDTH, WIDTH) for _ in range(3))

    def forward(self, x: Tensor) -> Tensor:
        heads = (self.num_attention_heads, self.attention_head_size)
        q, k, v = (layer(x).unflatten(-1, heads).transpose(1, 2) for layer in (self.query, self.key, self.value))
        mixed = functional.scaled_dot_product_attention(q, k, v)
        return mixed.transpose(1, 2).reshape(*x.shape[:-1], self.all_head_size)


class Apart(nn.Module):
    """Attention and its output layer side by side."""

    def __init__(self) -> None:
        super().__init__()
        self.attention, self.output = SelfAttention(), nn.Linear(WIDTH, WIDTH)

    def forward(self, x: Tensor) -> Tensor:
        return self.output(self.attention(x))


class FromInput(Fused):
    """Takes the width of the heads from its input: without a head it cannot run."""

    def forward(self, x: Tensor) -> Tensor:
        samples, length, width = x.shape
        q, k, v = self.qkv(x).reshape(samples, length, 3, self.num_heads, width // self.num_heads).permute(2, 0, 3, 1, 4).unbind(0)
        return self.proj(functional.scaled_dot_product_attention(q, k, v).transpose(1, 2).reshape(samples, length, width))


class Torch(nn.Module):
    """nn.MultiheadAttention."""

    def __init__(self) -> None:
        super().__init__()
        self.inner = nn.MultiheadAttention(WIDTH, HEADS, batch_first=True)

    def forward(self, x: Tensor) -> Tensor:
        return self.inner(x, x, x)[0]


class Net(nn.Module):
    """Attention and a perceptron of 32 neurons, each beside a shortcut."""

    def __init__(self, attention: nn.Module) -> None:
        super().__init__()
        self.embed, self.attention = nn.Linear(8, WIDTH), attention
        self.up, self.down, self.head = nn.Linear(WIDTH, 32), nn.Linear(32, WIDTH), nn.Linear(WIDTH, 3)

    def forward(self, x: Tensor) -> Tensor:
        """[N, 4, 8] -> [N, 3]."""
        x = torch.tanh(self.embed(x))
        x = x + self.attention(x)
        return self.head((x + self.down(functional.gelu(self.up(x)))).mean(1))


KINDS: dict[str, type[nn.Module]] = {"torch": Torch, "fused": Fused, "by head": ByHead, "apart": Apart}


def net(kind: type[nn.Module]) -> Net:
    """Untrained, always the same."""
    torch.manual_seed(4)
    return Net(kind()).eval()
