"""Methods on language models and encoders: what is compensated and scaled, what it gains, and what the files hold of tied weights."""

import functools
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import onnx
import pytest
import torch
from torch import Tensor, nn

from slimline.data.signature import signature_of
from slimline.errors import InputError
from slimline.methods import get_method
from slimline.methods.blocks import blocks_of, evaluated_copy, stack_of
from slimline.methods.compensation import compensated, inverse_factor
from slimline.methods.compile.saturation import sums_saturate
from slimline.methods.layer_use import uses_of
from slimline.methods.prune.magnitude import magnitude
from slimline.methods.prune.semi_structured import semi_structured
from slimline.methods.prune.sparsegpt import sparsegpt
from slimline.methods.prune.wanda import wanda
from slimline.methods.quantize.gptq import rest_of_grids
from slimline.methods.quantize.quantized import Quantized
from slimline.methods.quantize.simulate import simulate, sqnr_db
from slimline.methods.quantize.smoothing import smoothed
from slimline.methods.quantize.stored_bytes import stored_bytes
from slimline.methods.scaling import scalables
from slimline.params import CONFIGS, MagnitudeParams, SemiStructuredParams, SparsegptParams, WandaParams
from slimline.workloads.huggingface.gguf_written import write_gguf
from tests.generating_nets import windows
from tests.language_samples import WORDS, bert, language_data, llama, run_compiled, text
from tests.shared_export import shared_exports

INPUTS, UNSEEN = text(48), text(seed=2)
FEW_PER_CENT = 0.05
Settings = Mapping[str, Any]


@pytest.fixture(scope="module", autouse=True)
def exported_once() -> Iterator[None]:
    with shared_exports():
        yield


@functools.cache
def net(*, tied: bool) -> nn.Module:
    return llama(tied=tied)


def quantized(model: nn.Module, method: str, **settings: Any) -> Quantized:
    config = CONFIGS["quantize"][method](source="teacher", method=method, **settings)
    data = language_data(INPUTS)
    made: Quantized = get_method("quantize", method)(model, config, statistics=data.collect(model), data=data)
    return made


def outputs(model: nn.Module, inputs: Mapping[str, Tensor] = UNSEEN) -> Tensor:
    with torch.no_grad():
        found: Tensor = model(**inputs)
    return found


def nearness_db(made: Quantized, model: nn.Module) -> float:
    return sqnr_db(outputs(model), outputs(simulate(made.model, made.plan, made.grids)))


def test_the_stack_of_blocks_is_found_and_run_as_the_model_runs_it() -> None:
    model = llama()
    assert stack_of(model, INPUTS) == ("body.model.layers.0", "body.model.layers.1")
    assert stack_of(bert(), INPUTS) == ("body.encoder.layer.0", "body.encoder.layer.1")
    assert stack_of(nn.Sequential(nn.Linear(4, 4)), {"input": torch.zeros(2, 4)}) == ()
    seen: list[Tensor] = []
    model.get_submodule("body.model.layers.1").register_forward_pre_hook(lambda _, arguments: seen.append(arguments[0]))
    outputs(model, INPUTS)
    last = list(blocks_of(evaluated_copy(llama()), INPUTS))[-1]
    assert torch.equal(torch.cat([call.flowing for call in last.calls if call.flowing is not None]), seen[0])


def test_what_a_column_loses_the_columns_after_it_make_up_for() -> None:
    generator = torch.Generator().manual_seed(0)
    rows = torch.randn(400, 24, generator=generator) @ torch.randn(24, 24, generator=generator)
    weight = torch.randn(8, 24, generator=generator)
    moment = (rows.T @ rows).double() / len(rows)

    def to_whole(here: Tensor, _: Tensor, __: int, column: int) -> Tensor:
        return here[:, column].round()

    mended = compensated(weight, inverse_factor(moment, 0.01), to_whole)
    assert torch.equal(mended, mended.round())
    plain, better = ((rows @ (one - weight).T).square().mean() for one in (weight.round(), mended))
    assert better < 0.6 * plain
    assert torch.allclose(compensated(weight, inverse_factor(moment, 0.01), lambda here, _, __, column: here[:, column]), weight)


@pytest.mark.parametrize("bits", [4, 3])
def test_gptq_is_nearer_than_rounding(bits: int) -> None:
    model = net(tied=True)
    settings = {"bits": bits, "group_size": 32, "embeddings": "float32"}
    fitted = quantized(model, "gptq", **settings)
    rounded = Quantized(model, fitted.plan, grids=_by_range(model, fitted))
    assert nearness_db(fitted, model) > nearness_db(rounded, model) + 1.5


def _by_range(model: nn.Module, made: Quantized) -> dict[str, Tensor]:
    return rest_of_grids(model, made.plan["layers"], {})


def test_awq_is_nearer_than_rounding_and_says_what_it_could_not_scale() -> None:
    model = net(tied=True)
    made = quantized(model, "awq", group_size=32, embeddings="float32")
    rounded = Quantized(model, made.plan, grids=_by_range(model, made))
    assert nearness_db(made, model) > nearness_db(rounded, model) + 0.5
    assert sqnr_db(outputs(model), outputs(made.model)) > 80
    assert "self_attn.o_proj" in made.notes[0]
    assert "q_proj" not in made.notes[0]


def test_scales_go_into_norms_and_layers_that_nothing_else_reads() -> None:
    whole = {"num_key_value_heads": 4}
    found = {one.consumers[0]: one.producer for one in scalables(next(iter(blocks_of(llama(**whole), INPUTS))))}
    assert found == {
        "self_attn.q_proj": "input_layernorm",
        "self_attn.o_proj": "self_attn.v_proj",
        "mlp.gate_proj": "post_attention_layernorm",
        "mlp.down_proj": "mlp.up_proj",
    }
    behind = {one.consumers[0].rpartition(".")[2]: one.producer for one in scalables(next(iter(blocks_of(bert(), INPUTS))))}
    assert behind["query"] is None  # the residual sum reads what the norm makes as well
    model = net(tied=True)
    smooth, notes = smoothed(model, 0.5, language_data(INPUTS))
    assert sqnr_db(outputs(model), outputs(smooth)) > 80
    assert notes[0] == "The inputs of 12 layers are smoothed."


MIXED = {
    "precisions": ("int8", "int4"),
    "inputs": "running",
    "budget": {"size_ratio": 4.5},
    "max_drop": 0.9,
    "samples": 4,
    "compensate": True,
}
CASES: list[tuple[str, Settings]] = [
    ("weight_only", {"bits": 8, "granularity": "per-channel", "compute": "int8"}),
    ("weight_only", {"bits": 4, "group_size": 32, "embeddings": "int4", "compute": "int8"}),
    ("hqq", {"group_size": 64}),
    ("gptq", {"group_size": 64}),
    ("smoothquant", {}),
    ("smoothquant", {"ranges": "per-token"}),
    ("static", {}),
    ("half", {}),
    ("mixed", MIXED),
]


@pytest.mark.slow
@pytest.mark.parametrize("target", ["onnxruntime", "openvino"])
@pytest.mark.parametrize(("method", "settings"), CASES, ids=[f"{name}{len(settings)}" for name, settings in CASES])
def test_tied_weights_are_stored_once_and_the_page_tells_their_bytes(method: str, settings: Settings, target: str, tmp_path: Path) -> None:
    model = net(tied=True)
    made = quantized(model, method, **settings)
    few = {name: value[:2] for name, value in UNSEEN.items()}
    signature = signature_of([few], outputs(model, few))
    compile_for = get_method("compile", target)
    lowered = compile_for(made.model, made.plan, tmp_path, grids=made.grids, example=few, calibration=INPUTS, signature=signature)
    assert set(lowered.layers) == {name for name, entry in made.plan["layers"].items() if entry["precision"] != "float32"}
    told = stored_bytes(made.model, made.plan, uses_of(made.model, few), made.grids)
    overhead = 13_000 if method == "hqq" and target == "onnxruntime" else 4_000  # rotations and masks; what sums the groups
    assert told <= lowered.weight_bytes <= told * (1 + FEW_PER_CENT) + overhead
    assert lowered.weight_bytes < told + WORDS * 32  # a second copy of the embedding, even of 4 bits, would be more
    near = sqnr_db(outputs(simulate(made.model, made.plan, made.grids)), run_compiled(target, tmp_path, lowered.execution, UNSEEN))
    in_seven_bits = target == "openvino" and sums_saturate()
    assert near > (min(20, nearness_db(made, model) - 3) if in_seven_bits else 20)


@pytest.mark.slow
def test_an_embedding_is_unpacked_row_by_row(tmp_path: Path) -> None:
    model = net(tied=False)
    made = quantized(model, "gptq", embeddings="int4", group_size=32)
    few = {name: value[:2] for name, value in UNSEEN.items()}
    signature = signature_of([few], outputs(model, few))
    get_method("compile", "onnxruntime")(
        made.model, made.plan, tmp_path, grids=made.grids, example=few, calibration=INPUTS, signature=signature
    )
    assert "GatherBlockQuantized" in {node.op_type for node in onnx.load(tmp_path / "model.onnx").graph.node}
    assert sqnr_db(outputs(simulate(made.model, made.plan, made.grids)), run_compiled("onnxruntime", tmp_path, {}, UNSEEN)) > 25


def test_keep_float_of_a_tied_head_keeps_the_embedding_too() -> None:
    layers = quantized(net(tied=True), "weight_only", keep_float=("*lm_head",)).plan["layers"]
    assert layers["body.model.embed_tokens"]["precision"] == "float32"
    assert "body.lm_head" in layers["body.model.embed_tokens"]["reason"]


@pytest.mark.parametrize(("amount", "share"), [({"fraction": 0.5}, 0.5), ({"n": 2, "m": 4}, 0.5)])
def test_sparsegpt_is_nearer_than_magnitude(amount: Settings, share: float) -> None:
    model, data = net(tied=False), language_data(INPUTS)
    pruned = sparsegpt(model, SparsegptParams(source="teacher", method="sparsegpt", **amount), data=data).model
    weighed = wanda(model, WandaParams(source="teacher", method="wanda", **amount), data=data).model
    if "n" in amount:
        plain = semi_structured(model, SemiStructuredParams(source="teacher", method="semi_structured"), data=data).model
    else:
        config = MagnitudeParams(source="teacher", method="magnitude", scope="local", fraction=0.5)
        plain = magnitude(model, config, data=data).model
    for name in ("body.lm_head", "body.model.embed_tokens"):
        plain.get_submodule(name).load_state_dict(model.get_submodule(name).state_dict())
    for made in (pruned, weighed):
        for name, layer in made.named_modules():
            if isinstance(layer, nn.Linear) and "layers" in name:
                assert float((layer.weight == 0).double().mean()) == pytest.approx(share, abs=0.002)
    assert sqnr_db(outputs(model), outputs(pruned)) > sqnr_db(outputs(model), outputs(plain)) + 1


def test_wanda_takes_the_same_of_every_output() -> None:
    model = net(tied=False)
    made = wanda(model, WandaParams(source="teacher", method="wanda", fraction=0.25), data=language_data(INPUTS))
    weight = made.model.get_submodule("body.model.layers.1.mlp.down_proj").get_parameter("weight")
    assert ((weight == 0).sum(dim=1) == 32).all()
    assert "body.lm_head" in made.notes[0]


def test_mixed_gives_the_shared_weight_one_precision() -> None:
    made = quantized(net(tied=True), "mixed", budget={"size_ratio": 4.5}, max_drop=0.9, samples=4)
    layers = made.plan["layers"]
    table, head = layers["body.model.embed_tokens"], layers["body.lm_head"]
    assert table["precision"] == head["precision"]
    few = {name: value[:2] for name, value in UNSEEN.items()}
    uses = uses_of(made.model, few)
    ratio = stored_bytes(made.model, {"layers": {}}, uses) / stored_bytes(made.model, made.plan, uses, made.grids)
    assert ratio == pytest.approx(made.plan["mixed"]["estimated_size_ratio"], rel=0.01)


def test_gguf_files_hold_what_transformers_reads_back(tmp_path: Path) -> None:
    tokenizer = windows().tokenizer
    few = {name: value[:2] for name, value in UNSEEN.items()}
    sizes = {}
    for kind in ("F32", "Q8_0", "Q4_1"):
        told = write_gguf(net(tied=True), tokenizer, kind, tmp_path / f"{kind}.gguf", few)
        sizes[kind] = told["bytes"]
        assert told["agreement"] >= {"F32": 1.0, "Q8_0": 0.8, "Q4_1": 0.3}[kind]
    weights = 4 * sum(value.numel() for value in {id(one): one for one in net(tied=True).parameters()}.values())
    assert sizes["F32"] == pytest.approx(weights, rel=0.15)
    assert sizes["F32"] - sizes["Q8_0"] == pytest.approx(weights * (1 - 8.5 / 32), rel=0.02)
    assert sizes["F32"] - sizes["Q4_1"] == pytest.approx(weights * (1 - 5 / 32), rel=0.02)
    with pytest.raises(InputError, match="a bert is not written"):
        write_gguf(bert(), tokenizer, "Q8_0", tmp_path / "bert.gguf", few)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["F32.gguf", "Q4_1.gguf", "Q8_0.gguf"]
