"""Int8 with a range for each token, and attention as one operation: what they compute, and what the runtimes make of it."""

from pathlib import Path
from typing import Any

import numpy as np
import openvino as ov
import pytest
import torch
from pydantic import ValidationError
from torch import Tensor, nn

from slimline.calibration.statistics import collect_statistics
from slimline.data.batch import Batch
from slimline.data.samples import Samples
from slimline.data.signature import signature_of
from slimline.methods import get_method
from slimline.methods.compile.openvino_attention import fuse_attention
from slimline.methods.compile.saturation import sums_saturate
from slimline.methods.data import MethodData
from slimline.methods.quantize.quantized import Quantized
from slimline.methods.quantize.simulate import simulate, sqnr_db
from slimline.methods.quantize.token_ranges import LARGEST_LEVEL, TokenRange, finest_zero_point, token_ranged
from slimline.objectives.embedding import embedding
from slimline.params.quantize import SmoothquantParams
from tests.language_samples import bert, run_compiled

TOKENS = torch.randint(0, 60, (12, 16), generator=torch.Generator().manual_seed(0))
INPUTS = {"input_ids": TOKENS, "attention_mask": torch.ones_like(TOKENS)}


class Table(nn.Module):
    """Rows of numbers through two layers."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second = nn.Linear(32, 64), nn.Linear(64, 8)

    def forward(self, x: Tensor) -> Tensor:
        found: Tensor = self.second(torch.relu(self.first(x)))
        return found


def rows() -> Batch:
    """In one column the numbers are a hundred times as large, and in each row by another factor."""
    x = torch.randn(40, 32, generator=torch.Generator().manual_seed(1)) * torch.logspace(-1, 1, 40)[:, None]
    x[:, 5] *= 100
    return {"x": x}


def outputs(model: nn.Module, inputs: Batch) -> Tensor:
    with torch.no_grad():
        found: Tensor = model(**inputs)
    return found


def per_token(model: nn.Module, inputs: Batch, **settings: Any) -> Quantized:
    config = SmoothquantParams(source="teacher", method="smoothquant", **{"ranges": "per-token", **settings})
    found: Quantized = get_method("quantize", "smoothquant")(model, config, data=method_data(inputs))
    return found


def method_data(inputs: Batch) -> MethodData:
    samples = Samples(inputs, next(iter(inputs.values())))
    example = {name: value[:2] for name, value in inputs.items()}
    return MethodData(
        calibration=inputs,
        example=example,
        train=samples,
        validation=samples,
        objective=embedding(),
        metric="cosine",
        collect=lambda model: collect_statistics(model, inputs, 4),
    )


def lowered(made: Quantized, target: str, folder: Path, inputs: Batch) -> Any:
    few = {name: value[:2] for name, value in inputs.items()}
    signature = signature_of([few], outputs(made.model, few))
    compiler = get_method("compile", target)
    return compiler(made.model, made.plan, folder, grids=made.grids, example=few, calibration=inputs, signature=signature)


def test_a_row_is_rounded_over_its_own_range_and_zero_stays() -> None:
    x = torch.tensor([[0.0, 1.0, -0.5, 0.25], [0.0, 1000.0, -500.0, 250.0], [0.0, 0.0, 0.0, 0.0], [2.0, 2.0, 2.0, 2.0]])
    found = TokenRange(torch.ones(4), 85).rounded(x)
    assert torch.equal(found == 0, x == 0)
    step = x.abs().amax(dim=1, keepdim=True) * 1.5 / LARGEST_LEVEL
    assert bool(((found - x).abs() <= step / 2 + 1e-6).all())
    assert torch.allclose(found[1], found[0] * 1000)


def test_the_zero_point_is_where_the_rows_put_it() -> None:
    assert finest_zero_point(torch.tensor([-1.0, -2.0]), torch.tensor([1.0, 2.0])) in (127, 128)
    assert finest_zero_point(torch.tensor([-0.1]), torch.tensor([1.0])) == 24  # 24 levels for 0.1, 231 for 1
    assert finest_zero_point(torch.tensor([0.5]), torch.tensor([1.0])) == 1


@pytest.mark.parametrize("compensate", [True, False])
def test_outliers_cost_less_than_with_a_range_for_all(compensate: bool) -> None:
    torch.manual_seed(0)
    model = Table().eval()
    made, plain = (per_token(model, rows(), **one) for one in ({"compensate": compensate}, {"ranges": "dynamic"}))
    wanted, *found = (outputs(one, rows()) for one in (model, *(simulate(each.model, each.plan, each.grids) for each in (made, plain))))
    near, far = ((one - wanted).norm(dim=1) / wanted.norm(dim=1) for one in found)
    assert near.mean() < far.mean() / 4
    assert all(made.plan["layers"][name]["precision"] == "int8" for name in token_ranged(made.plan, made.grids))


@pytest.mark.parametrize("target", ["onnxruntime", "openvino"])
def test_rows_of_a_table_are_tokens_too(target: str, tmp_path: Path) -> None:
    torch.manual_seed(0)
    made = per_token(Table().eval(), rows())
    assert token_ranged(made.plan, made.grids) == ("first", "second")
    found = lowered(made, target, tmp_path, rows())
    assert found.layers == ("first", "second")
    assert found.computes == "int8"
    simulated = outputs(simulate(made.model, made.plan, made.grids), rows())
    in_seven_bits = sums_saturate() and target == "openvino"
    assert sqnr_db(simulated, run_compiled(target, tmp_path, found.execution, rows())) > (28 if in_seven_bits else 40)


class Repeated(nn.Module):
    """One layer that runs twice between two others."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.again, self.last = nn.Linear(32, 64), nn.Linear(64, 64), nn.Linear(64, 8)

    def forward(self, x: Tensor) -> Tensor:
        hidden = torch.relu(self.again(torch.relu(self.first(x))))
        found: Tensor = self.last(torch.relu(self.again(hidden)))
        return found


@pytest.mark.parametrize("target", ["onnxruntime", "openvino"])
def test_a_layer_that_runs_twice_is_stored_once(target: str, tmp_path: Path) -> None:
    torch.manual_seed(0)
    made = per_token(Repeated().eval(), rows())
    found = lowered(made, target, tmp_path, rows())
    assert found.layers == ("first", "again", "last")
    simulated = outputs(simulate(made.model, made.plan, made.grids), rows())
    assert sqnr_db(simulated, run_compiled(target, tmp_path, found.execution, rows())) > (28 if sums_saturate() else 40)
    assert any("stored in 7 bits" in note for note in found.notes) is sums_saturate()
    weights = 32 * 64 + 64 * 64 + 64 * 8
    parts = [path for path in tmp_path.iterdir() if path.suffix in (".onnx", ".bin")]
    assert weights <= sum(path.stat().st_size for path in parts) < weights + 64 * 64 + 4096


@pytest.mark.slow
@pytest.mark.parametrize("target", ["onnxruntime", "openvino"])
def test_an_encoder_computes_its_products_in_int8(target: str, tmp_path: Path) -> None:
    made = per_token(bert(), INPUTS)
    found = lowered(made, target, tmp_path, INPUTS)
    ranged = len(token_ranged(made.plan, made.grids))
    assert found.computes == {"onnxruntime": "int8", "openvino": "int8+float32"}[target]  # attention
    kinds = {"onnxruntime": ("MatMulIntegerToFloat",), "openvino": ("FullyConnected u8", "FullyConnected i8")}[target]
    assert sum(found.operations_after.get(kind, 0) for kind in kinds) == ranged == 12
    simulated = outputs(simulate(made.model, made.plan, made.grids), INPUTS)
    assert sqnr_db(simulated, run_compiled(target, tmp_path, found.execution, INPUTS)) > 30


def test_other_targets_and_static_settings_are_refused_in_a_sentence() -> None:
    config = SmoothquantParams(source="teacher", method="smoothquant", ranges="per-token")
    assert config.refused_by("openvino") is None
    assert "ranges per-token are lowered for onnxruntime and openvino alone" in str(config.refused_by("inductor"))
    assert "eager PyTorch has no int8 kernels" in str(config.refused_by("eager"))
    with pytest.raises(ValidationError, match="takes rest: bfloat16 with ranges dynamic or per-token"):
        SmoothquantParams(source="teacher", method="smoothquant", ranges="static", rest="bfloat16")


def test_attention_is_one_operation_and_a_text_of_nothing_is_no_nan(tmp_path: Path) -> None:
    model = bert()
    mask = INPUTS["attention_mask"].clone()
    mask[3, 5:], mask[4] = 0, 0
    inputs = {"input_ids": TOKENS, "attention_mask": mask}
    found = lowered(Quantized(model, None), "openvino", tmp_path, inputs)  # type: ignore[arg-type]
    kinds = [node.get_type_name() for node in ov.Core().read_model(tmp_path / "model.xml").get_ops()]
    assert kinds.count("ScaledDotProductAttention") == 2
    assert "Softmax" not in kinds
    assert sqnr_db(outputs(model, inputs), run_compiled("openvino", tmp_path, found.execution, inputs)) > 80


def test_a_softmax_that_is_no_attention_stays() -> None:
    x = ov.opset13.parameter([-1, 2, 8, 8], np.float32)
    alone = ov.opset13.softmax(ov.opset13.matmul(x, x, False, True), -1)
    graph = ov.Model([ov.opset13.result(alone)], [x])
    assert fuse_attention(graph) == 0
