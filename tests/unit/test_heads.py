"""Pruning attention heads: the right heads go from every kind of attention, and the outputs are those of the heads that are left."""

import pytest
import torch
from torch import Tensor, nn

from slimline.artifact.stand_ins import Attention
from slimline.artifact.structure import replay, structure_edits
from slimline.errors import InputError, StageError
from slimline.methods.factorize.svd import svd
from slimline.methods.prune.attention import attention_heads
from slimline.methods.prune.depth import depth
from slimline.methods.prune.heads import heads
from slimline.methods.prune.open_attention import with_open_heads
from slimline.params import DepthParams, HeadsParams, SvdParams
from tests.attention_nets import HEAD_DIM, HEADS, KINDS, WIDTH, FromInput, Fused, Net, Torch, net
from tests.method_data import method_data
from tests.small_nets import Encoder, seeded

SAMPLES = torch.randn(24, 4, 8, generator=torch.Generator().manual_seed(2))
LABELS = torch.randint(3, (24,), generator=torch.Generator().manual_seed(3))
BATCH = {"x": SAMPLES}
DATA = method_data(nn.Sequential(), BATCH, LABELS)
every_kind = pytest.mark.parametrize("kind", KINDS)


def config(fraction: float, **more: object) -> HeadsParams:
    return HeadsParams(**{"source": "teacher", "method": "heads", "fraction": fraction, "round_to": 4, **more})


def silence(model: nn.Module, removed: tuple[int, ...]) -> None:
    """Let nothing read these heads of a net of tests/attention_nets.py, and make them as small as can be."""
    opened, _ = with_open_heads(model, DATA.example)
    (found,) = attention_heads(opened, DATA.example)
    for place in found.group.slices:
        values = opened.get_parameter(place.name).data
        values.index_fill_(place.dim, torch.isin(place.channel, torch.tensor(removed)).nonzero().flatten(), 0.0)
    kept = {name: value for name, value in opened.state_dict().items() if name in model.state_dict()}
    model.load_state_dict(kept, strict=False)
    inner = getattr(model.attention, "inner", None)
    if inner is not None:
        inner.in_proj_weight.data.copy_(opened.attention.inner.in_proj.weight)
        inner.in_proj_bias.data.copy_(opened.attention.inner.in_proj.bias)


@every_kind
@pytest.mark.parametrize("criterion", ["output_change", "l2", "taylor"])
def test_heads_that_nothing_reads_go_first_and_the_outputs_stay(kind: str, criterion: str) -> None:
    model = net(KINDS[kind])
    silence(model, (0, 2))
    made = heads(model, config(0.5, criterion=criterion), data=DATA)
    torch.testing.assert_close(made.model(SAMPLES), model(SAMPLES))
    (row,) = made.listings[0].rows
    assert row[1:4] == ("heads", HEADS, 2)
    weights = [value.numel() for value in model.attention.parameters() if value.dim() == 2]
    left = [value.numel() for value in made.model.attention.parameters() if value.dim() == 2]
    assert sum(left) * 2 == sum(weights)


@every_kind
def test_the_smaller_model_is_stored_and_comes_back(kind: str) -> None:
    made = heads(net(KINDS[kind]), config(0.75), data=DATA).model
    edits = structure_edits(net(KINDS[kind]), made)
    again = replay(net(KINDS[kind]), edits).eval()
    again.load_state_dict(made.state_dict())
    assert torch.equal(again(SAMPLES), made(SAMPLES))
    numbers = {key: value for spec in edits.values() if spec["type"] == "Changed" for key, value in spec["numbers"].items()}
    expected = {
        "torch": {},
        "fused": {"num_heads": 1, "attn_dim": HEAD_DIM},
        "by head": {"num_heads": 1},
        "apart": {"num_attention_heads": 1, "all_head_size": HEAD_DIM},
    }
    assert numbers == expected[kind]


def test_attention_that_takes_its_widths_from_its_input_is_refused_with_the_reason() -> None:
    with pytest.raises(StageError, match=r"found none that can go \(attention: its forward takes a width from its input"):
        heads(net(FromInput), config(0.5), data=DATA)


def test_a_model_without_attention_is_refused() -> None:
    with pytest.raises(StageError, match="found no attention in this model"):
        heads(nn.Sequential(nn.Flatten(), nn.Linear(32, 3)), config(0.5), data=method_data(nn.Sequential(), SAMPLES))


def test_taylor_looks_at_the_loss_where_l2_looks_at_the_weights() -> None:
    """Head 1 is large and writes where the classifier does not look."""
    model = net(Fused)
    with torch.no_grad():
        model.head.weight[:, 8:] = 0
        model.up.weight[:, 8:] = 0
        model.attention.proj.weight[:8, 4:8] = 0
        model.attention.proj.weight[8:, 4:8] = 9
    by_loss = heads(model, config(0.25, criterion="taylor"), data=DATA).model
    torch.testing.assert_close(by_loss(SAMPLES), model(SAMPLES))
    by_weight = heads(model, config(0.25, criterion="l2"), data=DATA).model
    assert bool((by_weight(SAMPLES) - model(SAMPLES)).abs().max() > 1e-3)


def test_half_of_the_neurons_go_and_attention_stays_torchs_own() -> None:
    model = net(Torch)
    with torch.no_grad():
        for layer in (model.up.weight, model.up.bias):
            layer[1::2] = 0
        model.down.weight[:, 1::2] = 0
    made = heads(model, config(0.0, mlp_ratio=0.5), data=DATA).model
    assert (made.up.out_features, made.down.in_features) == (16, 16)
    assert type(made.attention.inner) is nn.MultiheadAttention
    torch.testing.assert_close(made(SAMPLES), model(SAMPLES))


def test_global_scope_takes_more_where_heads_are_weak_and_leaves_each_attention_one() -> None:
    model = seeded("encoder", 32).eval()
    weak = model.encoder.layers[0].self_attn
    with torch.no_grad():
        weak.in_proj_weight.view(3, 4, 8, 32)[:, 1:] *= 0.01
        weak.out_proj.weight.view(32, 4, 8)[:, 1:] *= 0.01
    made = heads(model, config(0.5, scope="global", criterion="l2"), data=method_data(model, torch.randn(8, 1, 4, 4))).model
    assert [layer.self_attn.num_heads for layer in made.encoder.layers] == [1, 3]
    assert not made.encoder.use_nested_tensor


def test_what_keep_names_stays() -> None:
    model = seeded("encoder", 32).eval()
    data = method_data(model, torch.randn(8, 1, 4, 4))
    made = heads(model, config(0.5, mlp_ratio=0.5, keep=("encoder.layers.0.*",)), data=data)
    first, second = made.model.encoder.layers
    assert type(first.self_attn) is nn.MultiheadAttention
    assert (first.linear1.out_features, second.self_attn.num_heads, second.linear1.out_features) == (64, 2, 32)
    assert [row[4] for row in made.listings[0].rows] == ["named in keep", "", "named in keep", ""]
    with pytest.raises(InputError, match=r"keep: 'decoder\.\*' matches no attention and no hidden layer"):
        heads(model, config(0.5, keep=("decoder.*",)), data=data)


class Translator(nn.Module):
    """A decoder with a causal mask that also attends to a memory of another length, and an encoder that pads."""

    def __init__(self) -> None:
        super().__init__()
        self.embed, self.head = nn.Linear(8, WIDTH), nn.Linear(WIDTH, 3)
        self.encoder = nn.TransformerEncoder(nn.TransformerEncoderLayer(WIDTH, HEADS, 32, batch_first=True), 1)
        self.decoder = nn.TransformerDecoder(nn.TransformerDecoderLayer(WIDTH, HEADS, 32, batch_first=True), 2)

    def forward(self, x: Tensor) -> Tensor:
        """[N, 4, 8] -> [N, 3]."""
        x = self.embed(x)
        padded = torch.zeros(x.shape[:2], dtype=torch.bool).index_fill(1, torch.tensor([3]), True)
        memory = self.encoder(x, src_key_padding_mask=padded)[:, :3]
        mask = nn.Transformer.generate_square_subsequent_mask(4)
        return self.head(self.decoder(x, memory, tgt_mask=mask).mean(1))


@pytest.mark.filterwarnings("ignore:The PyTorch API of nested tensors")
def test_cross_attention_masks_and_padding_go_along() -> None:
    torch.manual_seed(0)
    model = Translator().eval()
    opened, names = with_open_heads(model, DATA.example)
    assert len(names) == 5
    assert [opened.get_submodule(name).fused for name in names] == [True, True, False, True, False]
    made = heads(model, config(0.5), data=DATA)
    assert [row[2:4] for row in made.listings[0].rows] == [(4, 2)] * 5
    torch.testing.assert_close(opened(SAMPLES), model(SAMPLES))
    masked = opened
    for one, left in zip(attention_heads(opened, DATA.example), attention_heads(made.model, DATA.example), strict=True):
        gone = torch.isin(opened.get_parameter(one.group.slices[0].name), made.model.get_parameter(left.group.slices[0].name))
        output = one.group.slices[-1]
        lost = [head for head in range(HEADS) if not bool(gone[one.group.slices[0].channel == head].all())]
        masked.get_parameter(output.name).data.index_fill_(1, torch.isin(output.channel, torch.tensor(lost)).nonzero().flatten(), 0.0)
    torch.testing.assert_close(made.model(SAMPLES), masked(SAMPLES))


def test_heads_go_a_second_time_and_other_methods_follow() -> None:
    model = seeded("encoder", 32).eval()
    data = method_data(model, torch.randn(24, 1, 4, 4, generator=torch.Generator().manual_seed(1)), LABELS)
    once = heads(model, config(0.5), data=data).model
    twice = heads(once, config(0.5), data=data).model
    thin = svd(twice, SvdParams(source="teacher", method="svd", rank=4, round_to=1), data=data).model
    shallow = depth(thin, DepthParams(source="teacher", method="depth", blocks=1), data=data).model
    attention = shallow.encoder.layers[0].self_attn
    assert isinstance(attention, Attention)
    assert attention.num_heads == 1
    assert isinstance(attention.in_proj, nn.Sequential)
    again = replay(Encoder(32), structure_edits(Encoder(32), shallow)).eval()
    again.load_state_dict(shallow.state_dict())
    assert torch.equal(again(**data.calibration), shallow(**data.calibration))


def test_it_can_be_trained_on() -> None:
    made = heads(net(Torch), config(0.5), data=DATA).model.train()
    nn.functional.cross_entropy(made(SAMPLES), LABELS).backward()
    assert all(value.requires_grad and value.grad is not None for value in made.parameters())
    assert isinstance(made, Net)


def test_a_net_without_attention_is_refused_unless_only_neurons_are_asked_for() -> None:
    plain = nn.Sequential(nn.Flatten(), nn.Linear(8, 32), nn.ReLU(), nn.Linear(32, 3))
    data = method_data(plain, torch.randn(16, 8, generator=torch.Generator().manual_seed(0)))
    with pytest.raises(StageError, match="found no attention in this model"):
        heads(plain, HeadsParams(source="teacher", method="heads", fraction=0.5, mlp_ratio=0.5), data=data)
    narrow = heads(plain, HeadsParams(source="teacher", method="heads", fraction=0.0, mlp_ratio=0.5), data=data).model
    assert narrow[1].out_features == 16
