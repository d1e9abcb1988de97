"""Nets as users write them: inputs of any type, outputs by name, axes that vary, one logit; compiled, and run by its runtime."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional
from torch.nn.utils.parametrizations import spectral_norm, weight_norm

from slimline.calibration.statistics import collect_statistics
from slimline.data.batch import Batch, take
from slimline.data.signature import InputSignature, Signature, shortened, signature_of
from slimline.errors import InputError, StageError
from slimline.loaders import Outputs
from slimline.methods import get_method
from slimline.methods.compile.lowered import require_fixed
from slimline.methods.compile.parity import compare_outputs
from slimline.methods.quantize.simulate import simulate
from slimline.model import Model
from slimline.objectives.classification import classification
from slimline.objectives.described import described, objective_of
from slimline.params import DynamicParams, StaticParams, WeightOnlyParams
from slimline.runtime import load
from slimline.training.fit import predict
from tests.lowering import samples, write_compiled
from tests.method_data import TEN, method_data
from tests.shared_export import shared_exports

CONFIGS = {
    "static": StaticParams(source="teacher", method="static"),
    "dynamic": DynamicParams(source="teacher", method="dynamic"),
    "weight_only": WeightOnlyParams(source="teacher", method="weight_only", bits=8, group_size=32),
}
RUNTIMES = ("onnxruntime", "openvino")
COUNT = 48


@pytest.fixture(scope="module", autouse=True)
def _exports() -> Iterator[None]:
    with shared_exports():
        yield


class Several(nn.Module):
    """Numbers, token ids through an embedding and a mask of yes or no; logits and what they were made of."""

    def __init__(self) -> None:
        super().__init__()
        self.embed, self.conv = nn.Embedding(17, 24), nn.Conv1d(24, 32, 3, padding=1)
        self.mix, self.head = nn.Linear(32 + 3, 32), nn.Linear(32, 10)

    def forward(self, numbers: Tensor, ids: Tensor, mask: Tensor) -> dict[str, Tensor]:
        """[N, 3], int64 [N, T] and bool [N, T] -> logits [N, 10] and features [N, 32]."""
        tokens = torch.relu(self.conv(self.embed(ids).transpose(1, 2))) * mask[:, None]
        features = torch.relu(self.mix(torch.cat([tokens.sum(2) / mask.sum(1, keepdim=True), numbers], dim=1)))
        return {"logits": self.head(features), "features": features}


class Attending(nn.Module):
    """Attention written by hand, a mask added to its scores: the least float in one head, -10,000 in the other."""

    def __init__(self) -> None:
        super().__init__()
        self.embed, self.query, self.key, self.value = nn.Embedding(17, 32), nn.Linear(32, 32), nn.Linear(32, 32), nn.Linear(32, 32)
        self.mix, self.head = nn.Linear(32, 32), nn.Linear(32, 10)

    def forward(self, ids: Tensor, mask: Tensor) -> Tensor:
        """int64 [N, T] and bool [N, T] -> [N, 10]."""
        x = self.embed(ids)
        query, key, value = (layer(x).unflatten(2, (2, 16)).transpose(1, 2) for layer in (self.query, self.key, self.value))
        least = torch.tensor([torch.finfo(torch.float32).min, -10_000.0])[None, :, None, None]
        scores = query @ key.transpose(2, 3) / 4 + least * (~mask)[:, None, None]
        x = x + self.mix((scores.softmax(3) @ value).transpose(1, 2).flatten(2))
        return self.head(torch.relu(x).masked_fill(~mask[:, :, None], 0).sum(1) / mask.sum(1, keepdim=True)) * 8


class Cosine(nn.Module):
    """A head whose normalised weight is read without its layer."""

    def __init__(self) -> None:
        super().__init__()
        self.body, self.fc = nn.Linear(16, 32), nn.Linear(32, 10, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """[N, 16] -> [N, 10]."""
        return 12 * functional.linear(functional.normalize(self.body(x)), functional.normalize(self.fc.weight))


class Namesakes(nn.Module):
    """Two layers that are called as inputs are."""

    def __init__(self) -> None:
        super().__init__()
        self.level, self.numbers, self.head = nn.Embedding(17, 24), nn.Linear(16, 32), nn.Linear(32 + 24, 10)

    def forward(self, numbers: Tensor, level: Tensor) -> Tensor:
        """[N, 16] and int64 [N] -> [N, 10]."""
        return self.head(torch.relu(torch.cat([self.numbers(numbers), self.level(level)], dim=1)))


class One(nn.Module):
    """One logit for two classes."""

    def __init__(self) -> None:
        super().__init__()
        self.body, self.head = nn.Linear(16, 32), nn.Linear(32, 1)

    def forward(self, x: Tensor) -> Tensor:
        """[N, 16] -> [N, 1]."""
        return self.head(torch.relu(self.body(x)))


class Siamese(nn.Module):
    """One backbone runs on both inputs, convolution and batch norm reused."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.norm, self.head = nn.Conv2d(1, 16, 3, padding=1), nn.BatchNorm2d(16), nn.Linear(32, 10)

    def half(self, x: Tensor) -> Tensor:
        """[N, 1, 8, 4] -> [N, 16]."""
        return functional.adaptive_avg_pool2d(torch.relu(self.norm(self.stem(x))), 1).flatten(1)

    def forward(self, left: Tensor, right: Tensor) -> Tensor:
        """Twice [N, 1, 8, 4] -> [N, 10]."""
        return self.head(torch.cat([self.half(left), self.half(right)], dim=1)) * 8


class Counting(nn.Module):
    """The batch size by len(x)."""

    def __init__(self) -> None:
        super().__init__()
        self.head = nn.Linear(16, 10)

    def forward(self, x: Tensor) -> Tensor:
        """[N, 4, 4] -> [N, 10]."""
        return self.head(x.reshape(len(x), 16))


class Normed(nn.Module):
    """Weights that parametrizations make anew in every run."""

    def __init__(self) -> None:
        super().__init__()
        self.body, self.head = weight_norm(nn.Linear(16, 32)), spectral_norm(nn.Linear(32, 10))
        self.last = nn.Linear(10, 10)

    def forward(self, x: Tensor) -> Tensor:
        """[N, 16] -> [N, 10]."""
        return self.last(torch.relu(self.head(torch.relu(self.body(x))))) * 8


class Biased(nn.Module):
    """[N, 16] -> [N, 10] by layers that see no sample: one makes another's weights, a second a bias of each position (Swin v2)."""

    def __init__(self) -> None:
        super().__init__()
        self.latent, self.maker, self.position = nn.Parameter(torch.randn(4)), nn.Linear(4, 16 * 16), nn.Linear(2, 16)
        self.register_buffer("places", torch.randn(1, 2))
        self.fc, self.head = nn.Linear(16, 16), nn.Linear(16, 10)

    def forward(self, x: Tensor) -> Tensor:
        """Logits."""
        made = functional.linear(x, self.maker(self.latent).view(16, 16))
        logits: Tensor = self.head(torch.relu(self.fc(torch.relu(made)) + self.position(self.places)))
        return logits


class Placed(nn.Module):
    """Token ids [N, T] -> [N, 10] by two tables, of words and of places, as a CLIP, a ViT or a BERT has them."""

    def __init__(self) -> None:
        super().__init__()
        self.embed, self.places, self.fc, self.head = nn.Embedding(17, 32), nn.Embedding(12, 32), nn.Linear(32, 32), nn.Linear(32, 10)
        self.register_buffer("numbers", torch.arange(12)[None])

    def forward(self, ids: Tensor) -> Tensor:
        """Logits."""
        words = self.embed(ids) + self.places(self.numbers[:, : ids.shape[1]])
        logits: Tensor = self.head(torch.relu(self.fc(words)).mean(1))
        return logits


class Squeezed(nn.Module):
    """[N, 1, 8, 4] -> [N, 10] with squeeze-and-excitation by convolutions, as in RegNet and EfficientNet."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.pool = nn.Conv2d(1, 16, 3, padding=1), nn.AdaptiveAvgPool2d(1)
        self.gates = nn.ModuleList(
            nn.Sequential(nn.Conv2d(16, 8, 1), act, nn.Conv2d(8, 16, 1), nn.Sigmoid()) for act in (nn.ReLU(), nn.SiLU())
        )
        self.head = nn.Linear(16, 10)

    def forward(self, x: Tensor) -> Tensor:
        """Logits."""
        x = torch.relu(self.conv(x))
        for gate in self.gates:
            x = x * gate(self.pool(x))
        logits: Tensor = self.head(x.mean((2, 3)))
        return logits


class Repeated(nn.Module):
    """[N, 1, 8, 4] -> [N, 10] by one convolution that is used three times, each time before a batch norm of its own."""

    def __init__(self) -> None:
        super().__init__()
        self.stem, self.conv = nn.Conv2d(1, 16, 3, padding=1), nn.Conv2d(16, 16, 3, padding=1)
        self.norms, self.head = nn.ModuleList(nn.BatchNorm2d(16) for _ in range(3)), nn.Linear(16, 10)
        for norm in self.norms:
            nn.init.uniform_(norm.weight, 0.2, 4.0)

    def forward(self, x: Tensor) -> Tensor:
        """Logits."""
        x = torch.relu(self.stem(x))
        for norm in self.norms:
            x = x + torch.relu(norm(self.conv(x)))
        logits: Tensor = self.head(x.mean((2, 3)))
        return logits


class Residual(nn.Module):
    """[N, 16] -> [N, 10] from what each block skips to, as in a WaveNet: nothing reads what the last one hands on."""

    def __init__(self) -> None:
        super().__init__()
        self.gates, self.skips, self.rest = (nn.ModuleList(nn.Linear(16, 16) for _ in range(2)) for _ in range(3))
        self.head = nn.Linear(16, 10)

    def forward(self, x: Tensor) -> Tensor:
        """Logits."""
        skipped = torch.zeros_like(x)
        for gate, skip, rest in zip(self.gates, self.skips, self.rest, strict=True):
            found = torch.tanh(gate(x))
            skipped = skipped + skip(found)
            x = x + rest(found)
        logits: Tensor = self.head(torch.relu(skipped))
        return logits


def generator() -> torch.Generator:
    return torch.Generator().manual_seed(1)


def several(length: int = 9) -> Batch:
    """The inputs in another order than that of forward."""
    ids = torch.randint(0, 17, (COUNT, length), generator=generator())
    mask = torch.arange(length) < torch.randint(2, length + 1, (COUNT, 1), generator=generator())
    return {"ids": ids, "mask": mask, "numbers": torch.randn(COUNT, 3, generator=generator())}


def rows(*shape: int) -> Tensor:
    return torch.randn(COUNT, *shape, generator=generator())


CASES: dict[str, tuple[type[nn.Module], Batch]] = {
    "several": (Several, several()),
    "attending": (Attending, {name: values for name, values in several().items() if name != "numbers"}),
    "cosine": (Cosine, {"x": rows(16)}),
    "namesakes": (Namesakes, {"numbers": rows(16), "level": several()["ids"][:, 0]}),
    "one": (One, {"x": rows(16)}),
    "siamese": (Siamese, {"left": rows(1, 8, 4), "right": rows(1, 8, 4)}),
    "normed": (Normed, {"x": rows(16)}),
    "counting": (Counting, {"x": rows(4, 4)}),
    "biased": (Biased, {"x": rows(16)}),
    "residual": (Residual, {"x": rows(16)}),
    "placed": (Placed, {"ids": several()["ids"]}),
    "squeezed": (Squeezed, {"x": rows(1, 8, 4)}),
    "repeated": (Repeated, {"x": rows(1, 8, 4)}),
}


FOLDED = {"biased": ("maker", "position"), "placed": ("places",)}
"""Layers whose input no sample changes."""


def net_of(name: str) -> nn.Module:
    torch.manual_seed(2)
    return CASES[name][0]().eval()


def compiled(target: str, net: nn.Module, folder: Path, batch: Batch, made: Any = None, *seen: Batch) -> Model:
    given = samples(net, batch, *seen)
    model, plan = (net, None) if made is None else (made.model, made.plan)
    lowered = get_method("compile", target)(model, plan, folder, **given, batch_sizes=(1, 16))
    write_compiled(folder, target, lowered, given)
    assert plan is None or set(lowered.layers) == {name for name, entry in plan["layers"].items() if entry["precision"] != "float32"}
    return load(folder, trust_code=True)


def arrays(values: Any) -> Any:
    return values.numpy() if isinstance(values, Tensor) else {name: value.numpy() for name, value in values.items()}


def agree(net: nn.Module, found: Outputs, batch: Batch, *, exact: bool) -> bool:
    objective = objective_of(described(classification("ab"))) if isinstance(net, One) else LOGITS
    parity = compare_outputs(arrays(predict(net, batch)), found, objective=objective, exact=exact)
    near = parity.tolerance is None or parity.max_abs_difference <= parity.tolerance
    return parity.agreement >= (1.0 if exact else 0.9) and near and (exact or (parity.sqnr_db or 0.0) > 20)


class _Logits:
    """The classification of one of several outputs."""

    def same_answers(self, before: Any, after: Any) -> np.ndarray:
        """Of the output `logits`, where there are several."""
        return TEN.same_answers(*(values if isinstance(values, Tensor) else values["logits"] for values in (before, after)))


LOGITS: Any = _Logits()


@pytest.mark.slow
@pytest.mark.parametrize("name", CASES)
@pytest.mark.parametrize("target", [*RUNTIMES, "torchscript"])
def test_a_float_net_computes_the_same_for_any_batch(target: str, name: str, tmp_path: Path) -> None:
    net, batch = net_of(name), CASES[name][1]
    if (target, name) == ("torchscript", "counting"):
        with pytest.raises(StageError, match="cannot be traced to TorchScript: Using len to get tensor shape"):
            compiled(target, net, tmp_path, batch)
        return
    model = compiled(target, net, tmp_path, batch)
    for size in (1, 2, 7, COUNT):
        some = take(batch, slice(0, size))
        assert agree(net, model.predict(arrays(some)), some, exact=True)
    assert model.signature.names == tuple(batch)


@pytest.mark.parametrize(
    "name",
    ["several", "attending", "cosine", "namesakes", "one", "siamese", "normed", "biased", "residual", "placed", "squeezed", "repeated"],
)
@pytest.mark.parametrize("method", CONFIGS)
@pytest.mark.parametrize("target", RUNTIMES)
def test_a_plan_runs_as_it_is_simulated(target: str, method: str, name: str, tmp_path: Path) -> None:
    net, batch = net_of(name), CASES[name][1]
    data = method_data(net, batch)
    made = get_method("quantize", method)(net, CONFIGS[method], statistics=collect_statistics(net, batch, 16), data=data)
    model = compiled(target, net, tmp_path, batch, made)
    assert agree(simulate(made.model, made.plan, made.grids), model.predict(arrays(batch)), batch, exact=False)
    assert made.plan["layers"].get("embed", {"precision": "int8"})["precision"] != "float32"
    if name == "cosine":
        assert made.plan["layers"]["fc"]["reason"] == "its weight is read by the model itself, not by the layer alone"
    kept = {layer: entry["reason"] for layer, entry in made.plan["layers"].items() if entry["precision"] == "float32"}
    if name == "residual":
        assert kept == {"rest.1": "no answer depends on it, so no graph holds it"}
    if name in FOLDED:
        assert kept == dict.fromkeys(FOLDED[name], "its input is the same for every sample, so graphs hold what it gives")


@pytest.mark.parametrize("method", CONFIGS)
@pytest.mark.parametrize("target", RUNTIMES)
def test_a_table_of_places_is_stored_small_where_lengths_vary(target: str, method: str, in_folder: Path) -> None:
    """ONNX Runtime's inference of shapes stops at it, and writes the graph so far where the process happens to be: nothing of it stays."""
    net, long, short = net_of("placed"), {"ids": several(9)["ids"]}, {"ids": several(4)["ids"]}
    data = method_data(net, long, signature=signature_of([long, short], predict(net, short)))
    made = get_method("quantize", method)(net, CONFIGS[method], statistics=collect_statistics(net, long, 16), data=data)
    assert all(entry["precision"] == "int8" for entry in made.plan["layers"].values())
    (in_folder / "made").mkdir()
    model = compiled(target, net, in_folder / "made", long, made, short)
    for batch in (long, short):
        assert agree(simulate(made.model, made.plan, made.grids), model.predict(arrays(batch)), batch, exact=False)
    assert [path.name for path in in_folder.iterdir()] == ["made"]


@pytest.mark.parametrize("target", [*RUNTIMES, "torchscript"])
def test_axes_that_vary_stay_free(target: str, tmp_path: Path) -> None:
    net = net_of("several")
    model = compiled(target, net, tmp_path, several(9), None, several(4))
    for length in (4, 6, 9):
        some = take(several(length), slice(0, 5))
        assert agree(net, model.predict(arrays(some)), some, exact=True)
    with pytest.raises(InputError, match=r"input 'ids' has shape \[48, 10\]; the model takes int64 \[N, 4\.\.9\] with N at least 1"):
        model.predict(arrays(several(10)))


@pytest.mark.parametrize("target", ["xla", "executorch"])
def test_a_target_with_fixed_sizes_says_what_to_do(target: str, tmp_path: Path) -> None:
    with pytest.raises(StageError, match=r"input 'ids' is int64 \[N, 4\.\.9\], and .* pad every sample to \[9\], or deploy on onnxruntime"):
        compiled(target, net_of("several"), tmp_path, several(9), None, several(4))


def test_the_way_out_is_the_longest_sample_however_short_the_example_is() -> None:
    ids = InputSignature(name="ids", dtype="int64", shape=(3, 13), varies={1: (2, 48)})
    with pytest.raises(StageError, match=r"pad every sample to \[3, 48\]"):
        require_fixed("why", Signature(inputs=(ids,)))


def test_what_does_not_fit_is_one_line(tmp_path: Path) -> None:
    model = compiled("onnxruntime", net_of("several"), tmp_path, several())
    whole = arrays(several())
    for wrong, said in (
        ({name: whole[name] for name in ("ids", "mask")}, r"the model takes ids: int64 \[N, 9\], mask: bool .*; given: ids, mask"),
        (whole | {"ids": whole["ids"] + 0.5}, "input 'ids' holds float32|float64"),
        (whole | {"numbers": whole["numbers"][:3]}, "every input holds the same samples; given: ids 48, mask 48, numbers 3"),
        (whole["ids"], "give a mapping of these names to arrays, not one array"),
    ):
        with pytest.raises(InputError, match=said):
            model.predict(wrong)


def test_samples_are_shortened_no_further_than_they_ever_are() -> None:
    whole, least = several(9), several(7)
    net = net_of("several")
    half = shortened(whole, signature_of([whole, several(2)], predict(net, whole)))
    assert {name: value.shape[1] for name, value in half.items()} == {"numbers": 3, "ids": 5, "mask": 5}
    bounded = shortened(whole, signature_of([whole, least], predict(net, whole)))
    assert bounded["ids"].equal(whole["ids"][:, :7])
