"""How the peers of mutual learning begin."""

import torch
from torch import Tensor, nn

from slimline.calibration.contract_nets import seeded, small_data
from slimline.methods.distill.mutual import kept_notes, mutual, reinitialised
from slimline.params import MutualParams


class WithPlaces(nn.Module):
    """A net with a parameter of its own, for which nothing says how it begins."""

    def __init__(self) -> None:
        super().__init__()
        self.places, self.layer = nn.Parameter(torch.randn(16)), nn.Linear(16, 3)

    def forward(self, x: Tensor) -> Tensor:
        """[N, 16] -> [N, 3]."""
        return self.layer(x + self.places)


def test_attention_begins_with_other_weights_and_its_own_zeros() -> None:
    layer = nn.TransformerEncoderLayer(8, 2, 16)
    fresh = dict(reinitialised(layer, 5).named_parameters())
    random = [name for name, value in layer.named_parameters() if value.std() > 0]
    assert "self_attn.in_proj_weight" in random
    assert [name for name in random if torch.equal(fresh[name], layer.get_parameter(name))] == []
    assert not fresh["self_attn.out_proj.bias"].any()
    assert kept_notes(layer) == ()


def test_what_begins_alike_in_all_peers_is_told() -> None:
    config = MutualParams(source="teacher", method="mutual", epochs=1, batch_size=16)
    data = small_data("rows", trains=True)
    assert mutual(WithPlaces(), nn.Identity(), config, data=data).notes == (
        "All peers begin with the student's own weights in the net itself.",
    )
    assert mutual(seeded("rows", 8), nn.Identity(), config, data=data).notes == ()
