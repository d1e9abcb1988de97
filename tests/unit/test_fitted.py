"""A model is built within what its weights and the teacher take, and comes back as it was, whatever its builder does."""

import functools
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn.utils.parametrizations import spectral_norm, weight_norm

from slimline.artifact.allowance import Allowance
from slimline.artifact.fitted import build_architecture
from slimline.artifact.folder import checksums, write_json
from slimline.artifact.manifest import Architecture, Manifest
from slimline.artifact.variant import load_variant, save_variant
from slimline.artifact.weight_header import Kind
from slimline.artifact.weights import load_weights, require_fit
from slimline.errors import ArtifactError

STUDENT = Architecture(role="student", config={"width": 8})


class Plain(nn.Module):
    """Two layers and a table that is not stored."""

    def __init__(self, width: int) -> None:
        super().__init__()
        self.first, self.last = nn.Linear(4, width), nn.Linear(width, 2)
        self.register_buffer("waves", torch.sin(torch.arange(4.0)), persistent=False)
        self.scale = torch.full((1,), 0.5)

    def forward(self, x: Tensor) -> Tensor:
        return self.last(torch.relu(self.first(x + self.waves) * self.scale))


class Reads(Plain):
    """Reads values that it has just made, which cannot be done on `meta`."""

    def __init__(self, width: int) -> None:
        super().__init__(width)
        self.rates = [rate.item() for rate in torch.linspace(0, 0.1, 3)]


class Mixes(Plain):
    """Mixes what is on `meta` with what comes from elsewhere."""

    def __init__(self, width: int) -> None:
        super().__init__(width)
        import numpy as np

        self.register_buffer("mask", torch.from_numpy(np.ones(4, np.float32)) * torch.arange(4.0))


class Tied(Plain):
    """One matrix twice."""

    def __init__(self, width: int) -> None:
        super().__init__(width)
        self.again = nn.Linear(4, width)
        self.again.weight = self.first.weight


class Normed(Plain):
    """Weights that are computed from others."""

    def __init__(self, width: int) -> None:
        super().__init__(width)
        self.first, self.last = weight_norm(self.first), spectral_norm(self.last)


class Recurrent(nn.Module):
    def __init__(self, width: int) -> None:
        super().__init__()
        self.first, self.last = nn.LSTM(4, width, batch_first=True), nn.Linear(width, 2)

    def forward(self, x: Tensor) -> Tensor:
        return self.last(self.first(x[:, None])[0][:, -1])


@functools.cache
def kept_waves() -> Tensor:
    return torch.cos(torch.arange(4.0))


class Keeps(Plain):
    """Takes a tensor that an earlier model made."""

    def __init__(self, width: int) -> None:
        super().__init__(width)
        self.register_buffer("waves", kept_waves(), persistent=False)


KINDS: tuple[Callable[[int], nn.Module], ...] = (Plain, Reads, Mixes, Tied, Normed, Recurrent)


class Workload:
    """Teachers of width 16 of one kind."""

    name = "kinds"

    def __init__(self, kind: Callable[[int], nn.Module]) -> None:
        self.kind = kind

    def build_teacher(self) -> nn.Module:
        return self.kind(16)

    def build_student(self, config: dict[str, Any]) -> nn.Module:
        return self.kind(config["width"])


def saved(folder: Path, kind: Callable[[int], nn.Module], architecture: Architecture, *, narrow: bool) -> nn.Module:
    workload = Workload(kind)
    torch.manual_seed(3)
    model = build_architecture(workload, architecture)
    if narrow:
        width = model.last.in_features
        first = nn.LSTM(4, width - 3, batch_first=True) if kind is Recurrent else nn.Linear(4, width - 3)
        model.first, model.last = first, nn.Sequential(nn.Linear(width - 3, 2), nn.Linear(2, 2))
    identity = {"variant": "v", "stage": "prune", "method": "m", "config": {}, "source": None, "lineage": ("v",), "seed": 0}
    save_variant(folder, model.eval(), Manifest(workload="kinds", architecture=architecture, structure={}, **identity), workload)
    return model


@pytest.mark.parametrize("narrow", [False, True], ids=["as it is", "edited"])
@pytest.mark.parametrize("architecture", [Architecture(), STUDENT], ids=["teacher", "student"])
@pytest.mark.parametrize("kind", KINDS)
def test_every_kind_of_builder_comes_back_as_it_was(
    kind: Callable[[int], nn.Module], architecture: Architecture, narrow: bool, tmp_path: Path
) -> None:
    model, x = saved(tmp_path / "v", kind, architecture, narrow=narrow and kind is not Tied), torch.randn(5, 4)
    loaded = load_variant(tmp_path / "v", Workload(kind)).model
    assert torch.equal(loaded(x), model(x))
    assert not any(value.is_meta for value in (*loaded.parameters(), *loaded.buffers()))
    assert all(value.requires_grad for value in loaded.parameters())
    if kind is Tied:
        assert loaded.again.weight is loaded.first.weight


def test_a_tensor_that_a_builder_keeps_is_never_zeros_in_silence(tmp_path: Path) -> None:
    kept_waves.cache_clear()
    model, x = saved(tmp_path / "v", Keeps, Architecture(), narrow=False), torch.randn(5, 4)
    assert torch.equal(load_variant(tmp_path / "v", Workload(Keeps)).model(x), model(x))
    kept_waves.cache_clear()
    with pytest.raises(ArtifactError, match=r"workload 'kinds': builds 'waves' of a tensor that it kept from an earlier model"):
        load_variant(tmp_path / "v", Workload(Keeps))


@pytest.mark.parametrize("kind", [Plain, Reads, Mixes])
@pytest.mark.parametrize("width", [10**9, 3_000_000, 10**30, -1, "8", None])
def test_a_student_that_asks_for_more_than_there_is_is_refused(kind: Callable[[int], nn.Module], width: Any, tmp_path: Path) -> None:
    saved(tmp_path / "v", kind, STUDENT, narrow=False)
    say(tmp_path / "v", architecture={"role": "student", "config": {"width": width}})
    with pytest.raises(ArtifactError, match=r"asks for more than its weights|do not fit the model|does not build"):
        load_variant(tmp_path / "v", Workload(kind))


def test_an_edit_that_another_one_replaces_is_never_made(tmp_path: Path) -> None:
    saved(tmp_path / "v", Plain, Architecture(), narrow=False)
    huge = {"type": "Linear", "in_features": 10**6, "out_features": 10**6, "bias": False}
    small = {"type": "Linear", "in_features": 16, "out_features": 2, "bias": True}
    say(tmp_path / "v", structure={"last": {"type": "Sequential", "children": {"0": huge}}, "last.0": small})
    with pytest.raises(ArtifactError, match="do not fit the model"):
        load_variant(tmp_path / "v", Workload(Plain))


@pytest.mark.parametrize(
    "spec",
    [
        {"type": "Sequential", "children": {str(number): {"type": "Identity"} for number in range(20_000)}},
        {"type": "GRU", "input_size": 4, "hidden_size": 4, "num_layers": 10**9, "bias": True, "batch_first": True, "dropout": 0.0}
        | {"bidirectional": False},
    ],
    ids=["idle layers", "recurrent layers"],
)
def test_edits_of_layers_without_end_are_refused_at_once(spec: dict[str, Any], tmp_path: Path) -> None:
    saved(tmp_path / "v", Plain, Architecture(), narrow=False)
    say(tmp_path / "v", structure={"last": spec})
    with pytest.raises(ArtifactError, match=r"names 20,001 layers|asks for more than"):
        load_variant(tmp_path / "v", Workload(Plain))


@pytest.mark.parametrize(
    "make",
    [
        lambda: torch.empty(1 << 40),
        lambda: torch.zeros(1 << 20, 1 << 20),
        lambda: torch.arange(100_000.0)[:, None] * torch.arange(100_000.0),
        lambda: torch.ones(1).repeat(1 << 40),
        lambda: torch.ones(10).new_zeros(1 << 40),
        lambda: torch.nn.functional.one_hot(torch.arange(1000), 1 << 32),
        lambda: [torch.ones(1) for _ in range(100_000)],
    ],
)
def test_no_operation_makes_more_than_is_allowed(make: Callable[[], object]) -> None:
    with pytest.raises(ArtifactError, match="the manifest asks for more"), Allowance("the manifest", 10, 1000):
        make()


def test_views_and_changes_in_place_cost_nothing() -> None:
    with Allowance("the manifest", 1000, 1000):
        x = torch.ones(1000, 1000)
        for _ in range(1000):
            x.add_(1).view(-1)[:10].mul_(2)
    assert x.sum() > 0


@pytest.mark.parametrize("name", ["complex64", "int64", "int8", "uint8", "bool", "float8_e4m3fn"])
def test_a_tensor_of_another_type_is_refused(name: str) -> None:
    model = nn.Linear(2, 3)
    weights = {key: value.detach().to(getattr(torch, name)) for key, value in model.state_dict().items()}
    with pytest.raises(ArtifactError, match=f"2 of 2 tensors do not fit the model; first: bias is {name}, expected float32"):
        load_weights(model, weights, Path("w"))


@pytest.mark.parametrize("name", ["float16", "bfloat16", "float32", "float64"])
def test_a_float_may_be_of_any_width(name: str) -> None:
    model, weights = nn.Linear(2, 3), {"weight": torch.full((3, 2), 0.5), "bias": torch.ones(3)}
    load_weights(model, {key: value.to(getattr(torch, name)) for key, value in weights.items()}, Path("w"))
    assert all(torch.equal(value, weights[key]) for key, value in model.state_dict().items())


def test_a_float_is_no_count() -> None:
    with pytest.raises(ArtifactError, match="steps is float32, expected int64"):
        require_fit({"steps": Kind("int64", ())}, {"steps": Kind("float32", ())}, Path("w"))


def say(folder: Path, **facts: Any) -> None:
    """Let a manifest say something else, its checksums still fitting."""
    path = folder / "manifest.json"
    write_json(path, json.loads(path.read_text()) | facts | {"files": checksums(folder)})
