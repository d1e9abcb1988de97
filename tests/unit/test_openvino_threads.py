"""A gated MLP in bfloat16 runs in one thread on any CPU: on AMX OpenVINO 2026.4 ends the process (openvino issue 33300)."""

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from slimline.loaders import openvino
from slimline.methods import get_method
from slimline.methods.compile.instruction_sets import instruction_sets
from slimline.methods.quantize.half import half
from slimline.params import HalfParams
from slimline.runtime import load
from tests.lowering import samples, write_compiled

INPUTS = torch.randn(6, 5, 64, generator=torch.Generator().manual_seed(0))


class Gated(nn.Module):
    """[N, 5, 64] -> [N, 3], by an MLP as Llama has it or by one with a ReLU."""

    def __init__(self, gate: nn.Module) -> None:
        super().__init__()
        self.gate = gate
        self.first, self.second = (nn.Linear(64, 128, bias=False) for _ in range(2))
        self.down, self.head = nn.Linear(128, 64, bias=False), nn.Linear(64, 3)

    def forward(self, x: Tensor) -> Tensor:
        logits: Tensor = self.head(self.down(self.gate(self.first(x)) * self.second(x)).mean(1))
        return logits


@pytest.mark.parametrize(("gate", "is_gated"), [(nn.SiLU(), True), (nn.GELU(), True), (nn.ReLU(), False)])
def test_it_answers_and_runs_in_float32_where_one_thread_would_end_the_process(gate, is_gated, tmp_path, monkeypatch):
    model = Gated(gate).eval()
    made = half(model, HalfParams(source="teacher", method="half", dtype="bfloat16"))
    given = samples(model, INPUTS)
    lowered = get_method("compile", "openvino")(made.model, made.plan, tmp_path, **given)
    write_compiled(tmp_path, "openvino", lowered, given)
    found = load(tmp_path, threads=1).predict(INPUTS.numpy())
    assert np.allclose(found, model(INPUTS).detach().numpy(), atol=0.05)
    for sets in (instruction_sets(), (*instruction_sets(), "amx_bf16")):
        monkeypatch.setattr(openvino, "instruction_sets", lambda sets=sets: sets)
        assert openvino._is_gated_on_amx(tmp_path / "model.xml") == (is_gated and "amx_bf16" in sets)
