"""Nets whose linear layers are written in their own way: planned, stored and compiled as nn.Linear."""

import numpy as np
import openvino as ov
import pytest
import torch

from slimline.artifact.structure import replay, structure_edits
from slimline.methods import get_method
from slimline.methods.compile.openvino import execution_of, notes_on
from slimline.methods.quantize.plan import layers_of_kind
from slimline.methods.transposed import with_linear_layers
from slimline.params import DynamicParams, WeightOnlyParams
from slimline.runtime import load
from slimline.workloads.huggingface.net import built
from tests.generating_nets import WORDS, compiled
from tests.generating_nets import language_net as generating_net
from tests.language_nets import described, language_net, tokens

LAYERS = {"gpt2": 8, "falcon": 8}
"""Of two blocks with a fused qkv, a projection and two of the perceptron."""


@pytest.mark.parametrize(("name", "count"), LAYERS.items())
def test_they_are_planned_like_others_and_come_back_from_their_structure(name: str, count: int) -> None:
    net, given = language_net(name), tokens()
    made = with_linear_layers(net)
    with torch.no_grad():
        assert torch.allclose(made(**given), net(**given), atol=1e-5)
    found = get_method("quantize", "weight_only")(made, WeightOnlyParams(source="teacher", method="weight_only", bits=8))
    assert len([layer for layer in layers_of_kind(found.plan, "weights") if ".h." in layer or ".layers." in layer]) == count
    architecture = built(described(name))
    back = replay(architecture, structure_edits(architecture, found.model))
    back.load_state_dict(found.model.state_dict())
    with torch.no_grad():
        assert torch.equal(back.eval()(**given), found.model(**given))


def test_a_net_without_such_layers_is_itself() -> None:
    net = language_net("llama")
    assert with_linear_layers(net) is net


@pytest.mark.slow
@pytest.mark.parametrize("target", ["openvino", "onnxruntime"])
def test_gpt2_is_compiled_with_integer_weights_and_generates(tmp_path, target: str) -> None:
    net = with_linear_layers(generating_net("gpt2"))
    found = get_method("quantize", "weight_only")(net, WeightOnlyParams(source="teacher", method="weight_only", bits=8))
    folder = compiled(tmp_path / target, target, found.model, found.plan, found.grids)
    float32 = sum(value.nbytes for value in {value.data_ptr(): value for value in net.state_dict().values()}.values())
    stored = sum(path.stat().st_size for path in folder.iterdir() if path.suffix in (".bin", ".onnx"))
    assert stored < 0.55 * float32 if target == "openvino" else stored < 0.8 * float32  # of so small a net the graph is much
    model = load(folder)
    ids = np.random.default_rng(0).integers(0, WORDS, (2, 20))
    said = model.predict({"input_ids": ids, "attention_mask": np.ones_like(ids)})
    with torch.no_grad():
        expected = found.model(torch.from_numpy(ids), torch.ones(2, 20, dtype=torch.int64)).numpy()
    assert np.corrcoef(said.ravel(), expected.ravel())[0, 1] > 0.999
    assert len(model.generate(ids[0].tolist()).tokens) > 0


def test_what_is_not_int8_computes_in_bfloat16_where_it_is_asked_for_and_the_cpu_has_it() -> None:
    net = generating_net("llama")
    plans = [
        get_method("quantize", "dynamic")(net, DynamicParams(source="teacher", method="dynamic", **more)).plan
        for more in ({}, {"rest": "bfloat16"}, {"rest": "bfloat16", "keep_float": ("*lm_head",)})
    ]
    has_it = "BF16" in ov.Core().get_property("CPU", "OPTIMIZATION_CAPABILITIES")
    hints = [execution_of(plan)["INFERENCE_PRECISION_HINT"] for plan in plans]
    assert hints == ["f32", "bf16" if has_it else "f32", "f32"]
    assert any("computes in float32" in note for note in notes_on(plans[2], execution_of(plans[2])))
