"""Texts of different lengths: what calibrates by them does as if nothing had been filled up."""

from typing import Any

import pytest
import torch
from torch import nn

from slimline.calibration.statistics import collect_statistics
from slimline.data.batch import Batch
from slimline.data.padding import beside_padding, without_padding
from slimline.data.samples import Samples
from slimline.errors import Impossible
from slimline.methods import get_method
from slimline.methods.data import MethodData
from slimline.methods.distill.generated import _beginnings
from slimline.objectives.causal_lm import causal_lm
from slimline.objectives.embedding import embedding
from slimline.params import CONFIGS
from slimline.params.distill import SequenceParams
from slimline.workloads.huggingface.net import built
from tests.language_nets import VOCABULARY, language_net
from tests.method_data import method_data

LENGTH, FILLED = 12, 40
METHODS: list[tuple[str, str, dict[str, Any]]] = [
    ("quantize", "gptq", {"bits": 4, "group_size": 32}),
    ("quantize", "awq", {"bits": 4, "group_size": 32}),
    ("quantize", "smoothquant", {"ranges": "per-token"}),
    ("quantize", "smoothquant", {"ranges": "static"}),
    ("quantize", "static", {"bias_correction": True}),
    ("prune", "wanda", {"fraction": 0.5}),
    ("prune", "sparsegpt", {"fraction": 0.5}),
    ("prune", "heads", {"fraction": 0.0, "mlp_ratio": 0.5, "criterion": "activation", "refit": True}),
    ("prune", "heads", {"fraction": 0.5, "criterion": "output_change"}),
    ("prune", "depth", {"blocks": 1, "criterion": "output_change"}),
    ("prune", "depth", {"blocks": 1, "criterion": "block_influence"}),
    ("factorize", "svd", {"energy": 0.5}),
]


def texts(length: int) -> Batch:
    """Tokens of twelve places, filled up to so many."""
    ids = torch.zeros(16, length, dtype=torch.long)
    ids[:, :LENGTH] = torch.randint(2, VOCABULARY, (16, LENGTH), generator=torch.Generator().manual_seed(1))
    return {"input_ids": ids, "attention_mask": (torch.arange(length) < LENGTH).long().expand(16, -1).contiguous()}


def data_of(net: nn.Module, length: int) -> MethodData:
    """An objective that says of a net without a head how far its vectors moved."""
    is_language = hasattr(net.body, "lm_head")
    return method_data(net, texts(length), objective=causal_lm() if is_language else embedding(), metric="distance")


def encoder() -> nn.Module:
    torch.manual_seed(0)
    sizes = {"hidden_size": 32, "num_attention_heads": 4, "intermediate_size": 64, "num_hidden_layers": 2, "vocab_size": VOCABULARY}
    return built({"task": "embedding", "config": sizes | {"model_type": "bert"}, "pooling": {"mode": "mean", "normalised": True}}).eval()


@pytest.mark.parametrize(("stage", "method", "settings"), METHODS, ids=lambda one: str(one))
def test_padding_changes_no_method(stage: str, method: str, settings: dict[str, Any]) -> None:
    net = encoder() if "static" in (method, settings.get("ranges")) else language_net("llama")
    found = []
    for length in (LENGTH, FILLED):
        data, more = data_of(net, length), {}
        if stage == "quantize":
            more["statistics"] = collect_statistics(net, texts(length), 8)
        found.append(get_method(stage, method)(net, CONFIGS[stage][method](source="teacher", method=method, **settings), data=data, **more))
    plain, padded = (dict(one.model.named_parameters()) for one in found)
    assert plain.keys() == padded.keys()
    for name, value in plain.items():
        assert value.shape == padded[name].shape
        assert torch.allclose(value, padded[name], atol=2e-4), name
    if stage == "quantize":
        before, after = ([end for entry in one.plan["layers"].values() for end in entry["input_range"] or ()] for one in found)
        assert before == pytest.approx(after, rel=1e-4)


def test_vectors_are_left_out_and_put_back() -> None:
    there = torch.tensor([[1, 1, 0], [1, 0, 0]])
    features = torch.arange(12.0).reshape(2, 3, 2)
    for shaped in (features, features.reshape(6, 2)):
        some = without_padding(shaped, there)
        assert some.tolist() == [[0, 1], [2, 3], [6, 7]]
        assert torch.equal(beside_padding(some, shaped, there), shaped)
        assert beside_padding(-some, shaped, there).flatten().tolist() == [0, -1, -2, -3, 4, 5, -6, -7, 8, 9, 10, 11]
    for other in (torch.ones(2, 4), torch.ones(2, 3, 4, 4)):
        assert without_padding(other, there) is other
    assert without_padding(features, torch.ones(2, 3)) is features


def test_prompts_of_written_texts_are_never_padding() -> None:
    short, long = texts(FILLED), {name: value.roll(1, 0) for name, value in texts(FILLED).items()}
    long["input_ids"][::2], long["attention_mask"][::2] = 7, 1
    config = SequenceParams(source="teacher", method="sequence", texts=40, prompt_tokens=16)
    found = _beginnings(Samples(long, torch.zeros(16)), config, 0)
    assert found.tolist() == [[7] * 16] * 40
    with pytest.raises(Impossible, match="no window of training has more than 16 tokens to begin with; lower prompt_tokens"):
        _beginnings(Samples(short, torch.zeros(16)), config, 0)
