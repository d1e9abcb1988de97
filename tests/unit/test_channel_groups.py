"""Groups of coupled channels: on every kind of graph, removing channels is the same as nobody reading them."""

import copy
from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional

from slimline.data.calling import named
from slimline.errors import StageError
from slimline.methods.prune.channel_groups import ChannelGroup, channel_groups
from slimline.methods.prune.channel_removal import remove_channels
from slimline.methods.prune.channel_trial import removable_groups
from tests.coupled_nets import Network


def conv(inputs: int, outputs: int, size: int = 3, **more: int) -> nn.Conv2d:
    return nn.Conv2d(inputs, outputs, size, padding=size // 2, **more)


def residual() -> nn.Module:
    def forward(net: Network, x: Tensor) -> Tensor:
        x = torch.relu(net.norm(net.stem(x)))
        x = functional.max_pool2d(torch.relu(x + net.back(torch.relu(net.inner(x)))), 2)
        return net.head(torch.relu(net.hidden(x.flatten(1))))

    norm, hidden = nn.BatchNorm2d(8), nn.Linear(8 * 4, 12)
    return Network(forward, stem=conv(1, 8), norm=norm, inner=conv(8, 16), back=conv(16, 8), hidden=hidden, head=nn.Linear(12, 3))


def grouped() -> nn.Module:
    layers = (conv(1, 16), conv(16, 24, groups=4), nn.ReLU(), conv(24, 12, groups=3), nn.Flatten(), nn.Linear(12 * 16, 3))
    return nn.Sequential(*layers)


def depthwise() -> nn.Module:
    separable = (conv(8, 8, groups=8), nn.BatchNorm2d(8), nn.ReLU6(), conv(8, 16, 1), nn.BatchNorm2d(16), nn.ReLU6())
    return nn.Sequential(conv(1, 8), *separable, nn.AdaptiveAvgPool2d(2), nn.Flatten(), nn.Linear(64, 3))


def densely_connected() -> nn.Module:
    def forward(net: Network, x: Tensor) -> Tensor:
        first = net.first(x)
        second = net.second(torch.relu(net.norm(first)))
        third = net.third(torch.relu(net.wider(torch.cat([first, second], 1))))
        return net.head(torch.cat([first, second, third], 1).mean((2, 3)))

    layers = {"first": conv(1, 8), "norm": nn.BatchNorm2d(8), "second": conv(8, 12), "wider": nn.BatchNorm2d(20), "third": conv(20, 4)}
    return Network(forward, **layers, head=nn.Linear(24, 3))


def one_dimensional() -> nn.Module:
    return nn.Sequential(
        nn.Conv1d(2, 8, 3), nn.BatchNorm1d(8), nn.ReLU(), nn.Conv1d(8, 6, 3), nn.Flatten(), nn.Linear(24, 10), nn.Linear(10, 3)
    )


def transformer() -> nn.Module:
    def forward(net: Network, x: Tensor) -> Tensor:
        return net.head(net.last(net.block(net.embed(x))).flatten(1))

    block = nn.TransformerEncoderLayer(8, 2, 16, batch_first=True)
    return Network(forward, embed=nn.Linear(4, 8), block=block, last=nn.Linear(8, 6), head=nn.Linear(30, 3))


IMAGE, SERIES, TOKENS = (3, 1, 4, 4), (3, 2, 8), (3, 5, 4)
GRAPHS: dict[Callable[[], nn.Module], tuple[tuple[int, ...], set[tuple[str, ...]]]] = {
    residual: (IMAGE, {("back", "stem"), ("inner",), ("hidden",)}),
    grouped: (IMAGE, {("0",), ("1",), ("3",)}),
    depthwise: (IMAGE, {("0", "1"), ("4",)}),
    densely_connected: (IMAGE, {("first",), ("second",), ("third",)}),
    one_dimensional: (SERIES, {("0",), ("3",), ("5",)}),
    transformer: (TOKENS, {("block.linear1",), ("last",)}),
}


@pytest.mark.parametrize("build", GRAPHS, ids=lambda build: build.__name__)
def test_removing_channels_is_the_same_as_not_reading_them(build: Callable[[], nn.Module]) -> None:
    shape, expected = GRAPHS[build]
    model, inputs = seeded(build), torch.randn(shape, generator=torch.Generator().manual_seed(1))
    groups = [group for group in removable_groups(model, named(model, torch.zeros(shape))) if not group.why_whole]
    assert {tuple(sorted(group.layers)) for group in groups} == expected
    before = {name: value.clone() for name, value in model.state_dict().items()}
    removed = {group.layer: [channel for channel in range(group.channels) if channel % 3 == 1] for group in groups}
    smaller = remove_channels(model, groups, removed)
    torch.testing.assert_close(smaller(inputs), unread(model, groups, removed)(inputs))
    assert all(len(smaller.get_submodule(name).weight) < len(before[f"{name}.weight"]) for group in groups for name in group.layers)
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())


def test_a_grouped_convolution_loses_the_same_places_of_each_block() -> None:
    groups = {group.layer: (group.channels, group.blocks) for group in channel_groups(seeded(grouped), {"input": torch.zeros(IMAGE)})}
    assert groups == {"0": (4, 4), "1": (2, 12), "3": (4, 3)}, "24 channels in 4 groups for one layer and 3 for the next: 12 blocks"


def test_a_slice_names_where_each_channel_stands() -> None:
    group = next(group for group in channel_groups(seeded(densely_connected), {"x": torch.zeros(IMAGE)}) if group.layer == "second")
    places = {place.name: place for place in group.slices}
    assert places["second.weight"].channel.tolist() == list(range(12))
    assert places["wider.running_var"].channel.tolist() == [-1] * 8 + list(range(12))
    assert places["head.weight"].channel.tolist() == [-1] * 8 + list(range(12)) + [-1] * 4
    assert {place.name for place in group.slices if place.reads} == {"head.weight", "third.weight"}


def test_what_cannot_lose_channels_stays_whole_and_says_why() -> None:
    def shuffled(net: Network, x: Tensor) -> Tensor:
        x = torch.relu(net.first(x)).view(-1, 2, 4, 4, 4).transpose(1, 2).reshape(-1, 8, 4, 4)
        return net.head(torch.relu(net.second(x)).flatten(1))

    def recurrent(net: Network, x: Tensor) -> Tensor:
        return net.head(torch.relu(net.hidden(net.memory(net.embed(x))[0].mean(1))))

    shuffle = Network(shuffled, first=conv(1, 8), second=conv(8, 8), head=nn.Linear(128, 3))
    memory = {"embed": nn.Linear(4, 8), "memory": nn.GRU(8, 8, batch_first=True), "hidden": nn.Linear(8, 6), "head": nn.Linear(6, 3)}
    for model, shape, whole, free in ((shuffle, IMAGE, "first", "second"), (Network(recurrent, **memory), TOKENS, "embed", "hidden")):
        why = {group.layer: group.why_whole for group in removable_groups(model, named(model, torch.zeros(shape)))}
        assert why.keys() == {whole, free}
        assert why[free] == ""
        assert "channels" in why[whole]


def test_attention_keeps_its_heads_and_the_residual_stream_around_it() -> None:
    why = {group.layer: group.why_whole for group in removable_groups(seeded(transformer), {"x": torch.zeros(TOKENS)})}
    assert why == {"last": "", "block.linear2": "its channels run through a MultiheadAttention", "block.linear1": ""}


def seeded(build: Callable[[], nn.Module]) -> nn.Module:
    """With batch norms that are not all alike."""
    torch.manual_seed(0)
    model = build().eval()
    for norm in [layer for layer in model.modules() if isinstance(layer, nn.BatchNorm1d | nn.BatchNorm2d)]:
        for value in (norm.weight, norm.bias, norm.running_mean, norm.running_var):
            value.data.uniform_(0.5, 1.5)
    return model


def unread(model: nn.Module, groups: list[ChannelGroup], removed: dict[str, list[int]]) -> nn.Module:
    """A copy in which the layers behind have zeros for the channels."""
    copied = copy.deepcopy(model)
    for group in groups:
        for place in group.slices:
            if place.reads:
                lines = torch.isin(place.channel, torch.tensor(removed[group.layer])).nonzero().flatten()
                copied.get_parameter(place.name).data.index_fill_(place.dim, lines, 0.0)
    return copied


def test_a_model_that_does_not_run_is_told_so() -> None:
    with pytest.raises(StageError, match=r"cannot be traced \(mat1 and mat2"):
        channel_groups(nn.Sequential(nn.Linear(4, 8), nn.Linear(7, 3)), {"input": torch.randn(2, 4)})


def test_heads_that_are_joined_again_move_no_channels() -> None:
    """Taken for a flattening they multiplied the channels at every layer: four layers took minutes and gigabytes."""
    torch.manual_seed(0)
    layer = nn.TransformerEncoderLayer(32, 4, 64, dropout=0.0, batch_first=True, norm_first=True)
    model = nn.Sequential(nn.Linear(8, 32), nn.TransformerEncoder(layer, 4, enable_nested_tensor=False), nn.Linear(32, 3)).eval()
    groups = {group.layer: group for group in removable_groups(model, {"input": torch.zeros(2, 8, 8)})}
    assert [name for name, group in groups.items() if not group.why_whole] == [f"1.layers.{index}.linear1" for index in (3, 2, 1, 0)]
    assert groups["1.layers.0.linear1"].channels == 64
