"""The layers that stand in for torch's: attention that computes the same, and structure edits that bring them back."""

from collections import OrderedDict
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from slimline.artifact.stand_ins import Attention, Skip
from slimline.artifact.structure import replay, structure_edits
from slimline.data.calling import named
from slimline.errors import ArtifactError
from slimline.methods.prune.open_attention import with_open_heads

WIDTH, HEADS, LENGTH = 12, 3, 5


class Asks(nn.Module):
    """Runs its attention with given options: on itself, or on keys and values of other widths."""

    def __init__(self, attention: nn.MultiheadAttention, others: tuple[Tensor, Tensor] | None = None, **options: Any) -> None:
        super().__init__()
        self.attention, self.others, self.options = attention, others, options

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor | None]:
        key, value = self.others or (x, x)
        return self.attention(x, key, value, **self.options)


CAUSAL = torch.triu(torch.ones(LENGTH, LENGTH, dtype=torch.bool), diagonal=1)
PADDED = torch.tensor([[False] * LENGTH, [False] * 3 + [True] * 2])
PER_HEAD = torch.randn(2 * HEADS, LENGTH, LENGTH, generator=torch.Generator().manual_seed(1))
CASES: dict[str, tuple[dict[str, Any], dict[str, Any]]] = {
    "alone": ({"batch_first": True}, {"need_weights": False}),
    "weights": ({"batch_first": True}, {}),
    "weights of each head": ({"batch_first": True}, {"average_attn_weights": False}),
    "without biases": ({"batch_first": True, "bias": False}, {"need_weights": False}),
    "causal": ({"batch_first": True}, {"attn_mask": CAUSAL, "is_causal": True, "need_weights": False}),
    "both masks": ({"batch_first": True}, {"attn_mask": CAUSAL, "key_padding_mask": PADDED}),
    "a mask for each head": (
        {"batch_first": True},
        {"attn_mask": PER_HEAD, "key_padding_mask": torch.zeros(2, LENGTH).masked_fill(PADDED, -torch.inf), "need_weights": False},
    ),
    "time first": ({}, {"attn_mask": CAUSAL}),
}


@pytest.mark.parametrize("name", CASES)
def test_attention_computes_what_torchs_does(name: str) -> None:
    torch.manual_seed(0)
    made, options = CASES[name]
    attention = nn.MultiheadAttention(WIDTH, HEADS, **made)
    _with_biases(attention)
    x = torch.randn(2, LENGTH, WIDTH) if attention.batch_first else torch.randn(LENGTH, 2, WIDTH)
    check_same(Asks(attention, **options).eval(), x, fused=True)


@pytest.mark.parametrize("same_widths", [True, False])
def test_attention_to_something_else(same_widths: bool) -> None:
    torch.manual_seed(0)
    kdim, vdim = (WIDTH, WIDTH) if same_widths else (7, 8)
    attention = nn.MultiheadAttention(WIDTH, HEADS, kdim=kdim, vdim=vdim, batch_first=True)
    _with_biases(attention)
    others = torch.randn(2, 4, kdim), torch.randn(2, 4, vdim)
    check_same(Asks(attention, others).eval(), torch.randn(2, LENGTH, WIDTH), fused=False)


def test_attention_of_a_single_sample() -> None:
    torch.manual_seed(0)
    attention = nn.MultiheadAttention(WIDTH, HEADS, batch_first=True)
    check_same(Asks(attention, key_padding_mask=PADDED[1]).eval(), torch.randn(LENGTH, WIDTH), fused=True)


def _with_biases(attention: nn.MultiheadAttention) -> None:
    if attention.in_proj_bias is not None:
        nn.init.normal_(attention.in_proj_bias)
        nn.init.normal_(attention.out_proj.bias)


def check_same(model: Asks, x: Tensor, *, fused: bool) -> None:
    opened, names = with_open_heads(model, {"x": x})
    assert names == ("attention",)
    assert isinstance(opened.attention, Attention)
    assert opened.attention.fused is fused
    expected, found = model(x), opened(x)
    torch.testing.assert_close(found[0], expected[0])
    assert (found[1] is None) == (expected[1] is None)
    if expected[1] is not None:
        torch.testing.assert_close(found[1], expected[1])


class Odd(nn.Module):
    """A module without a spec: numbers, a parameter, a buffer, a list, and things that must stay as they are."""

    def __init__(self) -> None:
        super().__init__()
        self.count, self.sizes, self.name, self._secret = 4, (2, 3), "odd", 7
        self.place = nn.Parameter(torch.ones(1, 4))
        self.register_buffer("table", torch.ones(4, 2))
        self.register_buffer("cache", torch.ones(4), persistent=False)
        self.layers = nn.ModuleList(nn.Linear(2, 2) for _ in range(3))


def test_numbers_tensors_and_lists_of_any_module_come_back() -> None:
    model = Odd()
    model.count, model.sizes, model.place, model.table = 3, (2, 5), nn.Parameter(torch.full((1, 3), 2.0)), torch.zeros(3, 2)
    del model.layers[1:]
    model.layers[0] = nn.Sequential(nn.Linear(2, 1), nn.Linear(1, 2))
    edits = structure_edits(Odd(), model)
    assert edits[""] == {"type": "Changed", "numbers": {"count": 3, "sizes": [2, 5]}, "shapes": {"place": [1, 3], "table": [3, 2]}}
    assert edits["layers"] == {"type": "Shortened", "length": 1}
    again = replay(Odd(), edits)
    again.load_state_dict(model.state_dict())
    assert (again.count, again.sizes, len(again.layers), len(again.layers[0])) == (3, (2, 5), 1, 2)
    assert isinstance(again.place, nn.Parameter)
    assert again.place.requires_grad
    assert torch.equal(again.place, model.place)


def test_attention_comes_back_with_what_became_of_its_layers() -> None:
    encoder = nn.TransformerEncoderLayer(WIDTH, HEADS, 8, dropout=0.0, batch_first=True)
    model = nn.Sequential(encoder)
    smaller, _ = with_open_heads(model, named(model, torch.zeros(2, LENGTH, WIDTH)))
    smaller[0].self_attn.out_proj = nn.Sequential(nn.Linear(WIDTH, 2, bias=False), nn.Linear(2, WIDTH))
    smaller[0].linear1 = Skip()
    edits = structure_edits(model, smaller)
    assert edits.keys() == {"0.self_attn", "0.self_attn.out_proj", "0.linear1"}
    again = replay(model, dict(reversed(edits.items())))
    again.load_state_dict(smaller.state_dict())
    assert isinstance(again[0].linear1, Skip)
    query = torch.randn(2, LENGTH, WIDTH)
    assert torch.equal(again[0].self_attn(query, query, query)[0], smaller[0].self_attn(query, query, query)[0])


def test_a_buffer_that_is_not_stored_may_not_change_its_shape() -> None:
    model = Odd()
    model.cache = torch.ones(2)
    with pytest.raises(ArtifactError, match=r"buffer 'cache' of .* changed its shape and is not persistent"):
        structure_edits(Odd(), model)


@pytest.mark.parametrize(
    "spec",
    [
        {"type": "Changed", "numbers": {"training": False}, "shapes": {}},
        {"type": "Changed", "numbers": {"_secret": 1}, "shapes": {}},
        {"type": "Changed", "numbers": {"forward": 1}, "shapes": {}},
        {"type": "Changed", "numbers": {"name": "even"}, "shapes": {}},
        {"type": "Changed", "numbers": {"count": True}, "shapes": {}},
        {"type": "Changed", "numbers": {"count": "4"}, "shapes": {}},
        {"type": "Changed", "numbers": {}, "shapes": {"layers": [2]}},
        {"type": "Changed", "numbers": {}, "shapes": {"place": [-1]}},
        {"type": "Changed"},
        {"type": "Shortened", "length": 1},
    ],
    ids=str,
)
def test_an_edit_may_change_nothing_but_numbers_and_shapes_that_there_are(spec: dict[str, Any]) -> None:
    with pytest.raises(ArtifactError, match="does not fit the workload's architecture"):
        replay(Odd(), {"": spec})


@pytest.mark.parametrize(
    ("spec", "words"),
    [
        ({"type": "Linear", "in_features": 2, "out_features": 2, "bias": True, "device": "meta"}, "gives a Linear the argument 'device'"),
        ({"type": "Linear", "in_features": 10**30, "out_features": 2, "bias": True}, "structure edit of 'layer' does not fit"),
    ],
    ids=str,
)
def test_a_layer_that_slimline_never_wrote_is_refused_in_one_line(spec: dict[str, Any], words: str) -> None:
    with pytest.raises(ArtifactError, match=words) as told:
        replay(nn.Sequential(OrderedDict(layer=nn.Linear(2, 2))), {"layer": spec})
    assert "\n" not in str(told.value)
