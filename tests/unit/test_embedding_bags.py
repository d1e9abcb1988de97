"""nn.EmbeddingBag on runtimes: as PyTorch computes it, for bags of one length and of lengths that vary."""

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from slimline.data.batch import Batch, as_arrays, take
from slimline.methods import get_method
from slimline.methods.compile.embedding_bags import PlainBag, with_plain_bags
from slimline.runtime import load
from tests.lowering import samples, write_compiled

IDS = torch.randint(0, 12, (48, 7), generator=torch.Generator().manual_seed(0))
IDS[0] = 3  # a bag of padding alone
WEIGHTS = torch.rand(48, 7, generator=torch.Generator().manual_seed(1))


class Bagged(nn.Module):
    """A recommender's beginning: what was bought, as the mean of its rows, and weighted."""

    def __init__(self) -> None:
        super().__init__()
        self.bought, self.rated = nn.EmbeddingBag(12, 16, padding_idx=3), nn.EmbeddingBag(12, 16, mode="sum")
        self.head = nn.Sequential(nn.Linear(32, 24), nn.ReLU(), nn.Linear(24, 10))

    def forward(self, ids: Tensor, ratings: Tensor) -> Tensor:
        """int64 [N, T] and float32 [N, T] -> logits [N, 10]."""
        logits: Tensor = self.head(torch.cat([self.bought(ids), self.rated(ids, per_sample_weights=ratings)], dim=1))
        return logits


@pytest.mark.parametrize("settings", [{"mode": mode, "padding_idx": place} for mode in ("mean", "sum", "max") for place in (None, 3)])
def test_a_plain_bag_is_the_bag(settings: dict[str, Any]) -> None:
    torch.manual_seed(0)
    bag = nn.EmbeddingBag(12, 16, **settings)
    plain = with_plain_bags(bag)
    assert isinstance(plain, PlainBag)
    torch.testing.assert_close(plain(IDS), bag(IDS))
    if settings["mode"] == "sum":
        torch.testing.assert_close(plain(IDS, None, WEIGHTS), bag(IDS, None, WEIGHTS))
    flat, offsets = IDS.flatten(), torch.arange(0, IDS.numel(), 7)
    assert torch.equal(plain(flat, offsets), bag(flat, offsets))


def batch(length: int) -> Batch:
    return {"ids": IDS[:, :length], "ratings": WEIGHTS[:, :length]}


@pytest.mark.parametrize("target", ["onnxruntime", "openvino"])
def test_bags_of_any_length_run_on_both_engines(target: str, tmp_path: Path) -> None:
    torch.manual_seed(0)
    net = Bagged().eval()
    given = samples(net, batch(7), batch(4))
    lowered = get_method("compile", target)(net, None, tmp_path, **given, batch_sizes=(1, 16))
    write_compiled(tmp_path, target, lowered, given)
    model = load(tmp_path, trust_code=True)
    for length, count in ((7, 48), (5, 3), (4, 1)):
        some = take(batch(length), slice(0, count))
        assert torch.tensor(model.predict(as_arrays(some))).allclose(net(**some), atol=1e-5)
    assert isinstance(net.bought, nn.EmbeddingBag)
