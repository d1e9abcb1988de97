"""Heads, perceptrons and layers of language models of many architectures: found, taken out, stored, and written back where uniform."""

import copy
import json
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn

from slimline.artifact.closed import closed
from slimline.artifact.structure import replay, structure_edits
from slimline.data.windows import Windows
from slimline.errors import Impossible, InputError
from slimline.methods.data import MethodData
from slimline.methods.prune.attention import attention_heads, remove_heads_
from slimline.methods.prune.channel_removal import without_reading
from slimline.methods.prune.depth import depth
from slimline.methods.prune.heads import heads
from slimline.objectives.causal_lm import CausalLM
from slimline.params import DepthParams, HeadsParams
from slimline.workloads.huggingface.written import write_back
from tests.language_nets import ARCHITECTURES, described, language_net, tokens
from tests.method_data import method_data

from transformers import AutoModelForCausalLM, AutoTokenizer  # isort: skip

GIVEN = tokens(8, 12)
ALL_OF_ONE = {"llama multi-query", "falcon"}
SHARED = {"llama", "mistral", "qwen2", "qwen3", "gemma", "gemma3", "phi", "phi3", "falcon new"}
HEADS = [name for name in ARCHITECTURES if name != "bloom"]
every_architecture = pytest.mark.parametrize("name", ARCHITECTURES)


def lm_data(net: nn.Module) -> MethodData:
    return method_data(net, GIVEN, objective=CausalLM(), metric="bits_per_byte")


def pruned(net: nn.Module, **config: Any) -> nn.Module:
    settings = {"source": "teacher", "method": "heads", "fraction": 0.5, "criterion": "activation"} | config
    return heads(net, HeadsParams(**settings), data=lm_data(net)).model


def shallow(net: nn.Module) -> nn.Module:
    config = DepthParams(source="teacher", method="depth", blocks=1, criterion="block_influence")
    return depth(net, config, data=lm_data(net)).model


def logits(net: nn.Module) -> Tensor:
    with torch.no_grad():
        found: Tensor = net.eval()(**GIVEN)
    return found


def moved(net: nn.Module, other: nn.Module) -> float:
    return CausalLM().distance(logits(net), logits(other))


@pytest.mark.parametrize("grouped", ["groups", "queries"])
@pytest.mark.parametrize("name", HEADS)
def test_without_a_unit_of_heads_is_as_if_nothing_read_it(name: str, grouped: Any) -> None:
    net = language_net(name)
    found = attention_heads(net, GIVEN, grouped)
    assert [one.group.why_whole for one in found] == ["", ""]
    units = 2 if name in SHARED else 4
    for one in found:
        assert (one.group.channels, one.head_dim) == (units, 8)
        smaller = copy.deepcopy(net)
        remove_heads_(smaller, one, [1])
        unread = without_reading(net, [one.group], {one.group.layer: [1]})
        assert torch.allclose(logits(smaller), logits(unread), atol=1e-5)
        assert not torch.allclose(logits(smaller), logits(net), atol=1e-4)


@every_architecture
def test_shapes_shrink_and_come_back_from_their_description(name: str) -> None:
    net = language_net(name)
    narrow = pruned(net, fraction=0.0 if name == "bloom" else 0.5, mlp_ratio=0.5)
    for smaller in (narrow, shallow(net)):
        assert sum(value.numel() for value in smaller.parameters()) < 0.9 * sum(value.numel() for value in net.parameters())
        again = replay(language_net(name), structure_edits(language_net(name), smaller))
        again.load_state_dict(smaller.state_dict())
        assert torch.equal(logits(again), logits(smaller))


def test_heads_that_follow_a_bias_of_all_positions_are_refused_in_a_sentence() -> None:
    with pytest.raises(Impossible, match=r"found none that can go \(body.transformer.h.0.self_attention: its forward takes a width"):
        pruned(language_net("bloom"))


@pytest.mark.parametrize("name", ["llama", "gpt2", "phi3", "falcon"])
def test_what_is_fitted_anew_moves_less_than_what_is_not_and_than_chance(name: str) -> None:
    net = language_net(name)
    by_chance, by_use, refitted = (
        moved(net, pruned(net, mlp_ratio=0.5, **more)) for more in ({"criterion": "random"}, {}, {"refit": True})
    )
    assert refitted < 0.8 * by_use < by_chance


def test_each_key_value_head_loses_its_own_weakest_queries() -> None:
    net = language_net("llama")
    attention = net.body.model.layers[0].self_attn
    with torch.no_grad():
        attention.o_proj.weight.view(32, 4, 8)[:, [1, 2]] = 0  # the second query of the first pair, the first of the second
    smaller = pruned(net, grouped="queries", keep=("*layers.1.*",))
    assert torch.allclose(logits(smaller), logits(net), atol=1e-5)
    left = smaller.body.model.layers[0].self_attn
    assert (left.q_proj.out_features, left.k_proj.out_features, left.num_key_value_groups) == (16, 16, 1)


@pytest.mark.parametrize("name", ["llama", "gemma3", "gpt2", "bloom"])
def test_without_its_first_layer_a_model_goes_on_by_its_cache_as_without(name: str) -> None:
    net = language_net(name, **({"num_hidden_layers": 3} if name == "llama" else {}))
    config = DepthParams(source="teacher", method="depth", blocks=1, keep=("*.1", "*.2")[: 2 if name == "llama" else 1], criterion="random")
    smaller = depth(net, config, data=lm_data(net)).model
    short = closed(smaller)
    assert torch.equal(logits(short), logits(smaller))
    ids = GIVEN["input_ids"][:1]
    found = short.body.generate(
        input_ids=ids, attention_mask=torch.ones_like(ids), max_new_tokens=6, do_sample=False, pad_token_id=0, eos_token_id=None
    )
    for place in range(12, 18):
        with torch.no_grad():
            asked = smaller(input_ids=found[:, :place], attention_mask=torch.ones_like(found[:, :place]))
        assert int(asked[0, -1].argmax()) == int(found[0, place])


WRITTEN = [
    ("llama", "groups", {"num_attention_heads": 2, "head_dim": 8, "num_key_value_heads": 1}),
    ("llama", "queries", {"num_attention_heads": 2, "head_dim": 8}),
    ("llama", "mlp", {"intermediate_size": 32}),
    ("phi3", "groups", {"num_attention_heads": 2, "head_dim": 8, "num_key_value_heads": 1}),
    ("gemma3", "depth", {"num_hidden_layers": 1}),
    ("gpt2", "mlp", {"n_inner": 64}),
    ("gpt2", "depth", {"n_layer": 1}),
    ("falcon", "mlp", {"ffn_hidden_size": 64}),
]


def cut(net: nn.Module, way: str) -> nn.Module:
    if way == "depth":
        return shallow(net)
    return pruned(net, **{"mlp": {"fraction": 0, "mlp_ratio": 0.5}}.get(way, {"grouped": way}))


@pytest.mark.parametrize(("name", "way", "changes"), WRITTEN)
def test_what_is_uniform_is_written_back_with_tokenizer_and_licence(tmp_path: Path, name: str, way: str, changes: dict[str, Any]) -> None:
    smaller = cut(language_net(name), way)
    found = write_back(smaller, described(name), GIVEN, tmp_path / "out", windows(), {"LICENSE": "free"})
    assert found.items() >= changes.items()
    loaded = AutoModelForCausalLM.from_pretrained(tmp_path / "out").eval()
    with torch.no_grad():
        there = GIVEN["attention_mask"].bool()
        assert torch.allclose(loaded(**GIVEN).logits[there], logits(smaller)[there], atol=1e-4)
    assert loaded.config.tie_word_embeddings == ARCHITECTURES[name].get("tie_word_embeddings", loaded.config.tie_word_embeddings)
    assert AutoTokenizer.from_pretrained(tmp_path / "out")("ab ba")["input_ids"] == windows().reader.encode("ab ba").ids
    assert (tmp_path / "out/LICENSE").read_text() == "free"
    assert loaded.generation_config.eos_token_id == [0], "the tokenizer's, whatever config.json says"


def test_answers_of_what_is_written_back_end_where_those_of_the_release_do(tmp_path: Path) -> None:
    net, plain = language_net("llama"), described("llama")
    own, origin = net.get_submodule("body"), tmp_path / "origin"
    own.save_pretrained(origin)  # type: ignore[operator]
    said = {"eos_token_id": [0, 5, 7], "temperature": 0.6, "do_sample": True}
    (origin / "generation_config.json").write_text(json.dumps(said))
    for name, ends in (("theirs", ()), ("ours", (0, 5, 7, 9))):
        write_back(net, plain, GIVEN, tmp_path / name, origin, ends=ends)
        found = AutoModelForCausalLM.from_pretrained(tmp_path / name).generation_config
        assert (found.eos_token_id, found.temperature, found.do_sample) == (list(ends or (0, 5, 7)), 0.6, True)
    (origin / "generation_config.json").write_text('{"eos_token_id": [0, 5')
    with pytest.raises(InputError, match=r"origin/generation_config.json: is no generation config: .*; mend or remove it"):
        write_back(net, plain, GIVEN, tmp_path / "broken", origin)
    assert not (tmp_path / "broken").exists()


def windows() -> Windows:
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers

    made = Tokenizer(models.BPE({"<end>": 0, **{letter: 1 + place for place, letter in enumerate("abĠ")}}, []))
    made.pre_tokenizer, made.decoder = pre_tokenizers.ByteLevel(add_prefix_space=False), decoders.ByteLevel()
    return Windows(tokenizer=json.loads(made.to_str()), window=8, longest=64, pad_id=0, ends=(0,))


@pytest.mark.parametrize(("name", "said"), [("gpt2", "no config of gpt2 describes 6 of 29 tensors"), ("falcon", "no config of falcon")])
def test_heads_whose_width_a_config_takes_from_their_number_are_not_written_back(tmp_path: Path, name: str, said: str) -> None:
    with pytest.raises(InputError, match=said):
        write_back(pruned(language_net(name)), described(name), GIVEN, tmp_path / "out", tmp_path)
    assert not (tmp_path / "out").exists()
