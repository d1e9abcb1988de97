"""Methods on nets of transformers: heads, perceptrons, layers and low rank reach them, and what is uniform is written back."""

import copy
import json
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from slimline.artifact.structure import replay, structure_edits
from slimline.data.batch import Batch, take
from slimline.data.calling import called_by_name
from slimline.errors import InputError, StageError
from slimline.methods import get_method
from slimline.methods.compile.torchscript import torchscript
from slimline.methods.prune.attention import attention_heads, remove_heads_
from slimline.methods.prune.channel_removal import without_reading
from slimline.params import Params
from slimline.training.fit import predict
from slimline.workloads.huggingface.net import as_plain, built, parsed, with_labels
from slimline.workloads.huggingface.written import write_back
from tests import huggingface_directories as made
from tests.lowering import samples, write_compiled
from tests.method_data import method_data

from transformers import AutoModel, AutoModelForImageClassification, AutoModelForSequenceClassification  # isort: skip

LABELS = tuple("0123456789")
PIXELS = {"pixel_values": torch.randn(12, 3, 32, 32, generator=torch.Generator().manual_seed(0))}


def words(rows: int = 12, length: int = 10) -> Batch:
    """Texts of several lengths, the shorter ones filled up."""
    draw = torch.Generator().manual_seed(0)
    ids = torch.randint(4, len(made.WORDS), (rows, length), generator=draw)
    there = torch.arange(length)[None] < torch.randint(3, length + 1, (rows, 1), generator=draw)
    return {"input_ids": ids * there, "attention_mask": there.long(), "token_type_ids": torch.zeros_like(ids)}


def net_of(name: str, root: Path) -> tuple[dict[str, Any], nn.Module, Batch]:
    """A net as facts.json describes it, built, and samples for it."""
    folder = getattr(made, name)(root / name, labels=LABELS)
    config = parsed(json.loads((folder / "config.json").read_text()), {}, name)
    net = {"config": as_plain(with_labels(config, LABELS)), "task": "text" if name == "bert" else "images"}
    torch.manual_seed(0)
    given = words() if name == "bert" else PIXELS
    return net, called_by_name(built(net), next(iter(given))).eval(), given


def edited(net: nn.Module, inputs: Batch, stage: str, **config: Any) -> nn.Module:
    given = {
        "workload": "digits",
        "deploy": {"variants": ["teacher", "v"], "targets": ["eager"]},
        stage: {"v": {"source": "teacher", **config}},
    }
    _, settings = Params.parse(given).variants["v"]
    made_of: nn.Module = get_method(stage, config["method"])(net, settings, data=method_data(net, inputs)).model
    return made_of


def numbers(net: nn.Module) -> int:
    return sum(value.numel() for value in net.parameters())


@pytest.mark.parametrize("name", ["vit", "bert"])
def test_without_a_head_is_as_if_nothing_read_it(tmp_path: Path, name: str) -> None:
    _, net, given = net_of(name, tmp_path)
    found = attention_heads(net, take(given, slice(0, 2)))
    assert [(one.group.channels, one.head_dim, one.group.why_whole) for one in found] == [(4, 8, "")] * len(found)
    assert len(found) == (2 if name == "bert" else 3)
    for one in found:
        smaller = copy.deepcopy(net)
        remove_heads_(smaller, one, [1, 2])
        unread = without_reading(net, [one.group], {one.group.layer: [1, 2]})
        assert torch.allclose(outputs(smaller, given), outputs(unread, given), atol=1e-6)
        assert not torch.allclose(outputs(smaller, given), outputs(net, given), atol=1e-6)


def outputs(net: nn.Module, given: Batch) -> Tensor:
    found = predict(net, given)
    assert isinstance(found, Tensor)
    return found


WAYS = {
    "heads": ("prune", {"method": "heads", "fraction": 0.5}),
    "mlp": ("prune", {"method": "heads", "fraction": 0, "mlp_ratio": 0.5}),
    "channels": ("prune", {"method": "channels", "ratio": 0.5, "round_to": 8}),
    "depth": ("prune", {"method": "depth", "blocks": 1}),
    "svd": ("factorize", {"method": "svd", "energy": 0.7}),
}
REACHED = [("vit", way) for way in WAYS] + [("bert", way) for way in WAYS] + [("resnet", way) for way in ("channels", "depth", "svd")]


@pytest.mark.parametrize(("name", "way"), REACHED)
def test_methods_reach_the_layers_and_the_structure_is_replayed(tmp_path: Path, name: str, way: str) -> None:
    net, whole, given = net_of(name, tmp_path)
    stage, config = WAYS[way]
    smaller = edited(whole, given, stage, **config)
    assert numbers(smaller) < 0.999 * numbers(whole)
    again = replay(called_by_name(built(net), next(iter(given))), structure_edits(whole, smaller))
    again.load_state_dict(smaller.state_dict())
    assert torch.equal(outputs(again.eval(), given), outputs(smaller, given))


@pytest.mark.parametrize(
    ("name", "way", "changes"),
    [
        ("vit", "heads", {"num_attention_heads": 2, "head_dim": 8}),
        ("vit", "mlp", {"intermediate_size": 32}),
        ("vit", "depth", {"num_hidden_layers": 2}),
        ("resnet", "channels", {"hidden_sizes": [8, 16], "embedding_size": 8}),
        ("bert", "depth", {"num_hidden_layers": 1}),
    ],
)
def test_what_is_uniform_is_written_back(tmp_path: Path, name: str, way: str, changes: dict[str, Any]) -> None:
    net, whole, given = net_of(name, tmp_path)
    stage, config = WAYS[way]
    smaller = edited(whole, given, stage, **config)
    assert write_back(smaller, net, given, tmp_path / "out", tmp_path / name) == changes
    auto = AutoModelForSequenceClassification if name == "bert" else AutoModelForImageClassification
    loaded = auto.from_pretrained(tmp_path / "out").eval()
    with torch.no_grad():
        assert torch.allclose(loaded(**given).logits, outputs(smaller, given), atol=1e-5)
    assert (tmp_path / "out" / ("tokenizer.json" if name == "bert" else "preprocessor_config.json")).is_file()
    assert loaded.config.id2label == dict(enumerate(LABELS))


def test_an_encoder_is_written_back_with_its_pooling(tmp_path: Path) -> None:
    net, _, given = net_of("bert", tmp_path)
    (tmp_path / "bert/1_Pooling").mkdir()
    (tmp_path / "bert/1_Pooling/config.json").write_text("{}")
    net |= {"task": "encoder", "pooling": {"mode": "mean", "normalised": True}}
    whole = called_by_name(built(net), "input_ids").eval()
    smaller = edited(whole, given, "prune", method="depth", blocks=1, criterion="block_influence")
    assert write_back(smaller, net, given, tmp_path / "out", tmp_path / "bert") == {"num_hidden_layers": 1}
    with torch.no_grad():
        words = AutoModel.from_pretrained(tmp_path / "out").eval()(**given).last_hidden_state
    there = given["attention_mask"][:, :, None]
    mean = torch.nn.functional.normalize((words * there).sum(1) / there.sum(1), dim=1)
    assert torch.allclose(mean, outputs(smaller, given), atol=1e-5)
    assert (tmp_path / "out/1_Pooling/config.json").is_file()


@pytest.mark.parametrize(
    ("name", "way", "said"),
    [
        ("bert", "heads", r"no config of bert describes \d+ of \d+ tensors; first: bert.encoder.layer.0.attention.output.dense.weight is"),
        ("vit", "svd", r"no config of vit describes"),
        (
            "vit",
            "one",
            r"layers differ in intermediate_size, of which a config has one for all: vit.layers.0.mlp.fc1.* \[32.* and vit.layers.1",
        ),
    ],
)
def test_what_is_not_uniform_is_one_line(tmp_path: Path, name: str, way: str, said: str) -> None:
    net, whole, given = net_of(name, tmp_path)
    ways = WAYS | {"one": ("prune", {"method": "channels", "ratio": 0.5, "only": ["vit.layers.0.mlp.fc1"]})}
    stage, config = ways[way]
    smaller = edited(whole, given, stage, **config)
    with pytest.raises(InputError, match=said) as caught:
        write_back(smaller, net, given, tmp_path / "out", tmp_path / name)
    assert len(str(caught.value).splitlines()) == 1
    assert not (tmp_path / "out").exists()


@pytest.mark.slow
@pytest.mark.parametrize("target", ["onnxruntime", "torchscript"])
def test_named_whole_numbers_of_any_length_are_compiled(tmp_path: Path, target: str) -> None:
    from slimline.runtime import load

    _, net, given = net_of("bert", tmp_path)
    (tmp_path / target).mkdir()
    read = samples(net, given, {name: value[:, :6] for name, value in given.items()})
    write_compiled(tmp_path / target, target, get_method("compile", target)(net, None, tmp_path / target, **read), read)
    model = load(tmp_path / target, trust_code=True)
    for rows, length in ((1, 10), (3, 7), (5, 6)):
        some = {name: value[:rows, :length] for name, value in given.items()}
        found = torch.from_numpy(model.predict({name: value.numpy() for name, value in some.items()}))
        assert torch.allclose(found, outputs(net, some), atol=1e-5)


def test_a_trace_of_ones_own_checks_is_still_refused(tmp_path: Path) -> None:
    class Looks(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.head = nn.Linear(4, 2)

        def forward(self, x: Tensor) -> Tensor:
            return self.head(x) if x.mean() > -100 else self.head(-x)

    net = Looks()
    with pytest.raises(StageError, match="cannot be traced to TorchScript"):
        torchscript(net, None, tmp_path, **samples(net, torch.randn(4, 4)))
