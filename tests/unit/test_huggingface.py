"""Hugging Face directories: what is refused in one line, and what is the same as transformers has it."""

import json
import re
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

from slimline.commands.init_huggingface import suggested
from slimline.commands.looked import params_text
from slimline.data.preprocessing import Pictures, preprocessing_of
from slimline.data.tokens import Tokens
from slimline.errors import ArtifactError, DataError, ParamsError, SlimlineError, WorkloadError
from slimline.params import DataParams, ModelParams, Params
from slimline.workloads.facts import Facts
from slimline.workloads.huggingface import offline
from slimline.workloads.huggingface.directory import located, problems
from slimline.workloads.huggingface.facts import with_net
from slimline.workloads.huggingface.net import as_plain, body_of, built, parsed, sketched, with_labels
from slimline.workloads.huggingface.processor import pictures_of
from slimline.workloads.huggingface.tokenizer import tokens_of
from slimline.workloads.huggingface.weights import start_from_
from tests import huggingface_directories as made

from transformers import AutoImageProcessor, AutoModelForCausalLM, AutoModelForImageClassification, AutoTokenizer  # isort: skip

NETS = {"vit": made.vit, "resnet": made.resnet, "convnext": made.convnext, "bert": made.bert}
REVISION = "0123456789abcdef0123456789abcdef01234567"


def changed(path: Path, **more: Any) -> None:
    path.write_text(json.dumps(json.loads(path.read_text()) | more))


def net_of(folder: Path, task: str, labels: tuple[str, ...] = ("x", "y")) -> dict[str, Any]:
    config = parsed(json.loads((folder / "config.json").read_text()), {}, str(folder))
    return {"config": as_plain(with_labels(config, labels)), "task": task}


@pytest.mark.parametrize("name", ["vit", "resnet", "convnext"])
@pytest.mark.parametrize("size", [(40, 32), (33, 71), (32, 32), (12, 9), (500, 333)])
def test_pictures_become_what_their_processor_makes_of_them(tmp_path: Path, name: str, size: tuple[int, int]) -> None:
    folder = NETS[name](tmp_path / name)
    picture = Image.fromarray(np.random.default_rng(0).integers(0, 256, (*size[::-1], 3), dtype=np.uint8))
    found = pictures_of(folder, "image", 3)
    theirs = AutoImageProcessor.from_pretrained(folder)(images=[picture], return_tensors="np")["pixel_values"]
    ours = preprocessing_of(found.model_dump(mode="json"))({"image": [picture]})
    assert list(ours) == ["pixel_values"]
    assert np.abs(ours["pixel_values"] - theirs).max() < 1e-5


def test_a_processor_that_does_more_is_refused(tmp_path: Path) -> None:
    folder = made.vit(tmp_path / "vit")
    changed(folder / "preprocessor_config.json", size={"shortest_edge": 32})
    with pytest.raises(ArtifactError, match="scales the shorter side and does not crop"):
        pictures_of(folder, "image", 3)
    changed(folder / "preprocessor_config.json", size={"height": 32, "width": 32}, do_pad=True, pad_size={"height": 48, "width": 48})
    with pytest.raises(ArtifactError, match="does something else than to scale, crop and normalise"):
        pictures_of(folder, "image", 3)


def test_texts_become_what_their_tokenizer_makes_of_them(tmp_path: Path) -> None:
    folder = made.bert(tmp_path / "bert")
    found = tokens_of(folder, "review", sketched(net_of(folder, "text")), ["A fine day."])
    assert found.inputs == ("input_ids", "attention_mask", "token_type_ids")
    assert found.longest == 24, "the net has no place for more"
    texts = ["It was a FINE, warm day.", "", "soup " * 40, "an unknown word"]
    theirs = AutoTokenizer.from_pretrained(folder)(
        texts, padding=True, truncation=True, max_length=24, return_token_type_ids=True, return_tensors="np"
    )
    ours = preprocessing_of(found.model_dump(mode="json"))({"review": texts})
    for name in found.inputs:
        assert np.array_equal(ours[name], theirs[name]), name
    assert found({"review": [None]})["input_ids"].tolist() == [[2, 3]], "a missing text is an empty one"


def test_weights_are_those_of_the_directory_class_by_class(tmp_path: Path) -> None:
    folder = made.vit(tmp_path / "vit", labels=("b", "c", "a"))
    wanted = AutoModelForImageClassification.from_pretrained(folder).eval()
    net = net_of(folder, "images", ("a", "b", "c"))
    ours = built(net).eval()
    assert start_from_(ours, net, folder, ("a", "b", "c"))[1] == "The head came with them, class by class."
    pixels = torch.randn(2, 3, 32, 32)
    with torch.no_grad():
        assert torch.allclose(ours(pixel_values=pixels).logits, wanted(pixel_values=pixels).logits[:, [2, 0, 1]], atol=1e-6)


def test_a_head_of_other_classes_is_drawn_anew_and_said(tmp_path: Path) -> None:
    folder = made.vit(tmp_path / "vit")
    net = net_of(folder, "images", tuple("abcde"))
    (told,) = start_from_(built(net), net, folder, tuple("abcde"))
    assert told == f"It began with the weights of {folder}; drawn anew: classifier.bias, classifier.weight."


def test_weights_of_another_net_are_refused(tmp_path: Path) -> None:
    folder, other = made.vit(tmp_path / "vit"), made.resnet(tmp_path / "resnet")
    (folder / "model.safetensors").write_bytes((other / "model.safetensors").read_bytes())
    net = net_of(folder, "images")
    with pytest.raises(ArtifactError, match=r"its weights are of another net than its config.json: 0 of|asks for"):
        start_from_(built(net), net, folder, ("x", "y"))


def test_a_head_stored_beside_its_embedding_is_not_taken_for_it(tmp_path: Path) -> None:
    folder = made.llama(tmp_path / "llama", "a fine day " * 50, tie_word_embeddings=False)
    changed(folder / "config.json", tie_word_embeddings=True)
    net = net_of(folder, "causal-lm")
    with pytest.raises(ArtifactError, match=r"embed_tokens.weight and lm_head.weight are one weight by .* tie_word_embeddings to false"):
        start_from_(built(net), net, folder, ())
    changed(folder / "config.json", tie_word_embeddings=False)
    ours = built(net := net_of(folder, "causal-lm"))
    start_from_(ours, net, folder, ())
    wanted = AutoModelForCausalLM.from_pretrained(folder).state_dict()
    assert all(torch.equal(value, wanted[name]) for name, value in body_of(ours).state_dict().items())


def test_the_number_of_classes_reaches_an_architecture_that_keeps_it_apart() -> None:
    """PVT's config has `num_labels` as a setting of its own, 1,000 where nothing else is said."""
    plain = {"model_type": "pvt", "image_size": 32, "hidden_sizes": [8] * 4, "depths": [1] * 4, "num_attention_heads": [1] * 4}
    net = sketched({"config": as_plain(with_labels(parsed(plain, {}, "config.json"), ("x", "y", "z"))), "task": "images"})
    assert net.get_submodule("classifier").weight.shape == (3, 8)


def test_whole_numbers_beside_the_weights_are_no_quantized_weights(tmp_path: Path) -> None:
    """As older checkpoints of Swin, BEiT, BERT and GPT-Neo hold them."""
    from safetensors.torch import load_file, save_file

    weights = made.vit(tmp_path / "vit") / "model.safetensors"
    places, mask = torch.arange(9).view(3, 3), torch.ones(4, 4, dtype=torch.bool)
    held = {"layer.relative_position_index": places, "embeddings.position_ids": places.clone(), "layer.attention.bias": mask}
    save_file(load_file(weights) | held, weights, metadata={"format": "pt"})
    assert list(problems("hf:vit", tmp_path)) == []
    net = net_of(tmp_path / "vit", "images")
    assert start_from_(built(net), net, tmp_path / "vit", ("x", "y"))[0].startswith("It began with the weights of")


def spoil(folder: Path, how: str) -> None:
    config, weights = folder / "config.json", folder / "model.safetensors"
    if how == "code":
        changed(config, auto_map={"AutoModel": "modeling.Mine"})
    elif how == "pickle":
        weights.rename(folder / "pytorch_model.bin")
    elif how == "nothing":
        weights.unlink()
    elif how == "quantized":
        changed(config, quantization_config={"quant_method": "gptq"})
    elif how == "cut":
        weights.write_bytes(weights.read_bytes()[:-100])
    elif how == "integers":
        from safetensors.torch import load_file, save_file

        save_file({name: value.to(torch.int8) for name, value in load_file(weights).items()}, weights)
    elif how == "index":
        weights.unlink()
        (folder / "model.safetensors.index.json").write_text(json.dumps({"weight_map": {"a": "../elsewhere.safetensors"}}))
    elif how == "damaged":
        config.write_text("{")


@pytest.mark.parametrize(
    ("how", "said"),
    [
        ("code", "auto_map asks for code from the directory, which is never run"),
        ("pickle", r"holds pytorch_model.bin, pickled weights, which can run any code when loaded and are refused unread"),
        ("nothing", "holds no model.safetensors; save the model with transformers"),
        ("quantized", r"the weights are quantized already \(gptq\); give the directory of the float model"),
        ("cut", "is no whole safetensors file"),
        ("integers", "is int8, no float"),
        ("index", "names no files beside it"),
        ("damaged", "config.json: cannot be read"),
    ],
)
def test_what_is_refused_is_one_line(tmp_path: Path, how: str, said: str) -> None:
    spoil(made.vit(tmp_path / "vit"), how)
    (line,) = problems("hf:vit", tmp_path)
    assert re.search(said, line)


def test_a_name_of_the_hub_needs_its_revision_and_is_not_fetched_offline(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(
        WorkloadError, match=r"hf:google/vit: no folder 'google/vit'; of the hub's models one commit is taken: write hf:google/vit@"
    ):
        located("hf:google/vit", tmp_path)
    with pytest.raises(WorkloadError, match="one commit is taken"):
        located("hf:google/vit@main", tmp_path)
    monkeypatch.setattr(offline, "IS_ASKED_FOR", True)
    with pytest.raises(ArtifactError, match="is not in the hub's cache, and HF_HUB_OFFLINE forbids to fetch it"):
        located(f"hf:slimline-tests/none@{REVISION}", tmp_path)


def test_a_commit_that_was_fetched_is_taken_from_the_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = made.vit(tmp_path / f"models--ours--vit/snapshots/{REVISION}")
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
    assert located(f"hf:ours/vit@{REVISION}", tmp_path) == folder
    (folder / "model.safetensors").unlink()
    monkeypatch.setattr(offline, "IS_ASKED_FOR", True)
    with pytest.raises(ArtifactError, match="is not in the hub's cache"):
        located(f"hf:ours/vit@{REVISION}", tmp_path)


def test_the_watched_path_is_that_of_the_directory() -> None:
    assert ModelParams(architecture="hf:nets/vit", path="nets/vit/").path == "nets/vit/"
    given = {"workload": "digits", "deploy": {"variants": ["teacher"], "targets": ["eager"]}, "model": {"architecture": "hf:nets/vit"}}
    with pytest.raises(ParamsError, match=r"hf:nets/vit needs `path: nets/vit` beside it, which DVC watches"):
        Params.parse(given)


def of_pictures(side: int = 32) -> Facts:
    preprocessing = Pictures(column="image", height=side, width=side, mode="RGB", mean=(0, 0, 0), scale=(1, 1, 1))
    return Facts(preprocessing=preprocessing, objective={"name": "classification", "labels": ["x", "y"]}, outputs=2, found={})


def with_vit(monkeypatch: pytest.MonkeyPatch, root: Path, **data: Any) -> Facts:
    monkeypatch.chdir(root)
    return with_net(of_pictures(), "images", DataParams(**data), ModelParams(architecture="hf:vit", path="vit"), None)  # type: ignore[arg-type]


def test_the_facts_hold_the_config_and_not_the_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    made.vit(tmp_path / "vit")
    facts = with_vit(monkeypatch, tmp_path)
    again = Facts.model_validate(json.loads(json.dumps(facts.model_dump(mode="json"))))
    assert facts.net is not None
    assert again.net == facts.net
    assert "auto_map" not in facts.net["config"]
    assert sketched(again.net)(torch.empty(1, 3, 32, 32, device="meta")).logits.shape == (1, 2)
    with pytest.raises(WorkloadError, match="unknown key 'heads'"):
        built(again.net, {"heads": 3})


@pytest.mark.parametrize(
    ("size", "net", "said"),
    [
        (48, {}, r"data.image_size: 48, but the image processor of vit makes pictures of 32x32"),
        (None, {"image_size": 64}, r"vit: the image processor makes pictures of 32x32, its net: Input image size \(32\*32\) doesn't match"),
        (None, {"hidden_size": 40_000}, r"its config asks for [\d,]+ bytes of weights, there are"),
        (None, {"model_type": "nope"}, r"model_type 'nope' is none that transformers"),
    ],
)
def test_what_does_not_go_together_is_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, size: int | None, net: dict[str, Any], said: str
) -> None:
    folder = made.vit(tmp_path / "vit")
    changed(folder / "config.json", **net)
    with pytest.raises((ArtifactError, DataError), match=said) as caught:
        with_vit(monkeypatch, tmp_path, image_size=size)
    assert len(str(caught.value).splitlines()) == 1
    assert isinstance(caught.value, SlimlineError)
    assert caught.value.exit_code == 2


@pytest.mark.parametrize(("name", "first"), [("vit", "heads25"), ("resnet", "channels50"), ("bert", "heads25")])
def test_init_writes_variants_that_suit_the_net(tmp_path: Path, name: str, first: str) -> None:
    NETS[name](tmp_path / name)
    model, sections, variants = suggested(f"hf:{name}", tmp_path, 32)
    text = params_text("images", "data: {path: photos}", model, sections, "gate: {max_drop: 0.02}", list(variants))
    assert variants[0] == first
    assert f'model: {{architecture: "hf:{name}", path: "{name}"}}' in text
    assert ("keep: [bert.pooler.dense]" in text) == (name == "bert")
    (tmp_path / name / "model.safetensors").rename(tmp_path / name / "pytorch_model.bin")
    with pytest.raises(ArtifactError, match="pickled weights"):
        suggested(f"hf:{name}", tmp_path, 32)


def test_a_net_for_pictures_takes_no_texts(tmp_path: Path) -> None:
    folder = made.vit(tmp_path / "vit")
    with pytest.raises(WorkloadError, match="does not build a vit"):
        built(net_of(folder, "text"))


def test_tokens_without_the_package_say_so(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "tokenizers", None)
    tokens = Tokens(column="t", tokenizer={}, inputs=("input_ids",), longest=8, pad_id=0)
    with pytest.raises(SlimlineError, match="pip install tokenizers"):
        tokens({"t": ["a"]})
