"""The look at an untrained net: what cannot be followed is one line with the place and the way out, before any training."""

import threading
import warnings
from collections.abc import Callable

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.utils import parametrizations

from slimline.artifact.plain_weights import make_plain_
from slimline.calibration.look import look
from tests.unusual_nets import NETS, SHAPES

SAMPLES = torch.randn(6, 5, 8, generator=torch.Generator().manual_seed(0))
BATCH = {"x": SAMPLES}


class Net(nn.Module):
    """[N, 5, 8] -> [N, 3] by way of whatever `between` does to [N, 5, 8]."""

    def __init__(self, between: Callable[[Tensor], Tensor] = torch.relu, **modules: nn.Module) -> None:
        super().__init__()
        self.between, self.head = between, nn.Linear(8, 3)
        for name, module in modules.items():
            self.add_module(name, module)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.between(x).mean(dim=1))


class Packed(Net):
    def forward(self, x: Tensor) -> Tensor:
        lengths = (x[:, :, 0] > 0).sum(1).clamp(min=1)
        packed = nn.utils.rnn.pack_padded_sequence(x, lengths.cpu(), batch_first=True, enforce_sorted=False)
        _, hidden = self.get_submodule("rnn")(packed)
        return self.head((hidden[0] if isinstance(hidden, tuple) else hidden)[-1])


class Through(Net):
    """Through a module called `inner`, in any layout."""

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.get_submodule("inner")(x.transpose(1, 2)).transpose(1, 2).mean(dim=1))


class Squeezed(Net):
    def forward(self, x: Tensor) -> Tensor:
        return self.head(x.mean(dim=1, keepdim=True).squeeze())


class Unpacked(Net):
    def forward(self, x: Tensor) -> Tensor:
        first, second, *_ = x.mean(dim=1)
        return self.head(x.mean(dim=1)) + 0 * (first - second).sum()


class Drifting(Net):
    """Takes a running mean away, which goes on in evaluation."""

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("mean", torch.zeros(8))

    def forward(self, x: Tensor) -> Tensor:
        self.mean = 0.9 * self.mean + 0.1 * x.mean(dim=(0, 1))
        return super().forward(x - self.mean)


class Counting(Net):
    """Keeps something that its calls change: a number, a buffer that counts them, or a table that the first one makes."""

    def __init__(self, kept: str) -> None:
        super().__init__()
        self.kept, self.seen, self._seen = kept, 0, 0
        self.register_buffer("calls", torch.zeros((), dtype=torch.long))
        self.register_buffer("table", None, persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        if self.kept == "table":
            if self.table is None:
                self.table = torch.arange(8.0)
            return super().forward(x + self.table)
        setattr(self, self.kept, getattr(self, self.kept) + 1)
        return super().forward(x)


class Rewritten(Counting):
    """Sets its table in every call, to what it was."""

    def __init__(self) -> None:
        super().__init__("table")

    def forward(self, x: Tensor) -> Tensor:
        self.table = torch.arange(8.0) if self.table is None else self.table
        return super().forward(x)


class Listed(Net):
    """Layers that it keeps where PyTorch does not look for them."""

    def __init__(self, kept: list[nn.Module] | dict[str, nn.Module]) -> None:
        super().__init__()
        self.kept = kept

    def forward(self, x: Tensor) -> Tensor:
        for layer in self.kept.values() if isinstance(self.kept, dict) else self.kept:
            x = layer(x)
        return super().forward(x)


class Projected:
    """Multiplies by a matrix that no module knows."""

    def __init__(self, matrix: Tensor) -> None:
        self.matrix = matrix

    def __call__(self, x: Tensor) -> Tensor:
        return torch.relu(x @ self.matrix)


class Branching(Net):
    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x if float(x.sum()) > 0 else x + 0)


def noisy(x: Tensor) -> Tensor:
    return functional.dropout(x, 0.5)


def centred(x: Tensor) -> Tensor:
    return x - x.mean(dim=0)


def always_normed(x: Tensor) -> Tensor:
    return functional.batch_norm(x.transpose(1, 2), None, None, training=True).transpose(1, 2)


class Locked(Net):
    def __init__(self) -> None:
        super().__init__()
        self.lock = threading.Lock()


class Other(Net):
    """Built anew it is another net."""

    made = 0

    def __init__(self) -> None:
        Other.made += 1
        super().__init__(torch.relu, extra=nn.Linear(8, 8 + Other.made))

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.get_submodule("extra")(x)[:, :, :8].mean(dim=1))


def old_norm(kind: Callable[[nn.Module], nn.Module]) -> nn.Module:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return Through(inner=kind(nn.Conv1d(8, 8, 1)))


REFUSED: dict[str, tuple[Callable[[], nn.Module], str, str]] = {
    "packed LSTM": (lambda: Packed(rnn=nn.LSTM(8, 8, batch_first=True)), "layer 'rnn', LSTM, is called with a PackedSequence", "padded"),
    "packed GRU": (lambda: Packed(rnn=nn.GRU(8, 8, batch_first=True)), "layer 'rnn', GRU, is called with a PackedSequence", "padded"),
    "no running statistics": (
        lambda: Through(inner=nn.BatchNorm1d(8, track_running_stats=False)),
        "depends on the other samples of the batch: batch norm 'inner' keeps no running statistics",
        "leave out track_running_stats=False",
    ),
    "batch norm by function": (lambda: Net(always_normed), "depends on the other samples of the batch", "each sample for itself"),
    "centred on the batch": (lambda: Net(centred), "depends on the other samples of the batch", "each sample for itself"),
    "dropout that stays on": (lambda: Net(noisy), "answers the same samples differently each time", "self.training"),
    "squeezed": (lambda: Squeezed(), "cannot answer one sample alone: the output's shape is [3]", "keep the batch axis"),
    "two samples at least": (lambda: Unpacked(), "cannot answer one sample alone: not enough values to unpack", "keep the batch axis"),
    "a lock": (lambda: Locked(), "cannot be copied", "locks"),
    "old weight norm": (
        lambda: old_norm(nn.utils.weight_norm),
        "'inner' is under torch.nn.utils.weight_norm",
        "use torch.nn.utils.parametrizations.weight_norm",
    ),
    "old spectral norm": (
        lambda: old_norm(nn.utils.spectral_norm),
        "'inner' is under torch.nn.utils.spectral_norm",
        "parametrizations.spectral_norm",
    ),
    "built otherwise each time": (lambda: Other(), "comes out otherwise when the net is built again", "build the same net in every call"),
    "a running mean that runs on": (lambda: Drifting(), "every call changes its buffer 'mean'", "only if `self.training`"),
    "an input that is written to": (lambda: Net(lambda x: x.mul_(2)), "its forward changes its input 'x' in place", "x.clone()"),
    "a count of calls": (lambda: Counting("seen"), "a call changes its number 'seen', in evaluation mode too", "call it '_seen'"),
    "a buffer that counts": (lambda: Counting("calls"), "every call changes its buffer 'calls'", "only if `self.training`"),
    "layers in a list": (lambda: Listed([nn.Linear(8, 8), nn.ReLU()]), "neither parameters nor buffers: 'kept'", "nn.ModuleList"),
    "layers in a dict": (lambda: Listed({"a": nn.Linear(8, 8)}), "neither parameters nor buffers: 'kept'", "nn.ModuleDict"),
    "a random tensor": (lambda: Net(Projected(torch.randn(8, 8))), "neither parameters nor buffers: somewhere in it", "register_buffer"),
    "branches on values": (
        lambda: Branching(),
        "torch.export cannot follow Branching",
        "only the targets eager and torchscript can take it",
    ),
}


@pytest.mark.parametrize("name", REFUSED)
def test_what_cannot_be_followed_is_told_in_one_line(name: str) -> None:
    build, what, way_out = REFUSED[name]
    problems = look(build(), build(), BATCH, exports=True)
    assert len(problems) == 1
    assert what in problems[0]
    assert way_out in problems[0]
    assert "\n" not in problems[0]


def test_a_net_for_eager_alone_need_not_be_exported() -> None:
    assert look(Branching(), Branching(), BATCH, exports=False) == ()


TAKEN: dict[str, Callable[[], nn.Module]] = {
    "plain": Net,
    "batch norm": lambda: Through(inner=nn.BatchNorm1d(8)),
    "instance norm": lambda: Through(inner=nn.InstanceNorm1d(8)),
    "weight norm": lambda: Through(inner=parametrizations.weight_norm(nn.Conv1d(8, 8, 3))),
    "spectral norm": lambda: Through(inner=parametrizations.spectral_norm(nn.Conv1d(8, 8, 3))),
    "traced": lambda: torch.fx.symbolic_trace(Through(inner=nn.Conv1d(8, 8, 3))),
    "len": lambda: Net(lambda x: x.reshape(len(x), 5, 8)),
    "a constant": lambda: Net(Projected(torch.eye(8))),
    "a table that is made once": lambda: Counting("table"),
    "a table that each call sets anew": lambda: Rewritten(),
    "a count of its own": lambda: Counting("_seen"),
}


@pytest.mark.parametrize("name", TAKEN)
def test_what_can_be_followed_passes_and_is_left_alone(name: str) -> None:
    model = TAKEN[name]().train()
    before = {key: value.clone() for key, value in model.state_dict().items()}
    assert look(model, TAKEN[name](), BATCH, exports=True) == ()
    assert model.training
    assert model.state_dict().keys() == before.keys()
    assert all(torch.equal(value, before[key]) for key, value in model.state_dict().items())


@pytest.mark.parametrize("name", NETS)
def test_unusual_nets_pass(name: str) -> None:
    assert look(NETS[name](), NETS[name](), {"x": torch.randn(5, *SHAPES[name])}, exports=True) == ()


def test_plain_weights_compute_the_same_and_are_named() -> None:
    inner = nn.Sequential(parametrizations.weight_norm(nn.Conv1d(8, 8, 3)), parametrizations.orthogonal(nn.Conv1d(8, 8, 1)))
    model = Through(inner=inner).eval()
    expected = model(SAMPLES)
    assert make_plain_(model) == ("WeightNorm of inner.0.weight", "Orthogonal of inner.1.weight")
    assert torch.allclose(model(SAMPLES), expected, atol=1e-6)
    assert [type(layer) for layer in inner] == [nn.Conv1d, nn.Conv1d]
    assert make_plain_(model) == ()
