"""GGUF files: what is read of them and written into them, or refused in one line."""

import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import gguf
import numpy as np
import pytest
import torch

from slimline.errors import InputError
from slimline.workloads.huggingface.gguf import import_gguf
from slimline.workloads.huggingface.gguf_written import write_gguf
from tests.generating_nets import language_net, windows

from tokenizers import Tokenizer, normalizers, pre_tokenizers, processors  # isort: skip
from transformers import AutoConfig, AutoModelForCausalLM, AutoTokenizer  # isort: skip

IDS = torch.randint(2, 400, (2, 12), generator=torch.Generator().manual_seed(0))
GIVEN = {"input_ids": IDS, "attention_mask": torch.ones_like(IDS)}
PAIRS, BASE, CONTEXT = 4, 10000.0, 192


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A Llama as a file without scaling."""
    path = tmp_path_factory.mktemp("gguf") / "plain.gguf"
    write_gguf(language_net(), windows().tokenizer, "F32", path, GIVEN)
    return path


def with_more(plain: Path, path: Path, add: Callable[[Any], None], leave: str = "") -> Path:
    """The same file with what `add` writes, without the tensor `leave`."""
    reader, writer = gguf.GGUFReader(plain), gguf.GGUFWriter(str(path), "llama")
    for field in reader.fields.values():
        if not field.name.startswith("GGUF.") and field.name != "general.architecture":
            inner = field.types[-1] if field.types[0] == gguf.GGUFValueType.ARRAY else None
            writer.add_key_value(field.name, field.contents(), field.types[0], sub_type=inner)
    for one in reader.tensors:
        if one.name != leave:
            writer.add_tensor(one.name, one.data, raw_dtype=one.tensor_type)
    add(writer)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


def scaled(kind: str, factor: float = 4.0, **more: Any) -> Callable[[Any], None]:
    def add(writer: Any) -> None:
        writer.add_rope_scaling_type(gguf.RopeScalingType(kind))
        writer.add_rope_scaling_factor(factor)
        for name, value in more.items():
            getattr(writer, f"add_rope_scaling_{name}")(value)

    return add


def yarn(factor: float, context: int, fast: float, slow: float) -> tuple[list[float], float]:
    """Each pair's frequency and the vectors' factor as llama.cpp computes them (ggml: rope_yarn, rope_yarn_corr_dims)."""
    width = 2 * PAIRS

    def dim(rotations: float) -> float:
        return width * math.log(context / (rotations * 2 * math.pi)) / (2 * math.log(BASE))

    low, high = max(0, math.floor(dim(fast))), min(width - 1, math.ceil(dim(slow)))
    found = []
    for pair in range(PAIRS):
        kept = 1 - min(1, max(0, (pair - low) / max(0.001, high - low)))
        own = BASE ** (-2 * pair / width)
        found.append(own / factor * (1 - kept) + own * kept)
    return found, 1 + 0.1 * math.log(factor)


LINEAR = [BASE ** (-pair / PAIRS) / 4 for pair in range(PAIRS)], 1.0
UNSTRETCHED = [BASE ** (-pair / PAIRS) for pair in range(PAIRS)], 1.0
SCALED: list[tuple[Callable[[Any], None], tuple[list[float], float]]] = [
    (scaled("linear"), LINEAR),
    (lambda writer: writer.add_float32("llama.rope.scale_linear", 4.0), LINEAR),
    (scaled("yarn", orig_ctx_len=48), yarn(4, 48, 32, 1)),
    (scaled("yarn", factor=2.0, attn_factors=1.0), yarn(2, CONTEXT, 32, 1)),
    (scaled("yarn", orig_ctx_len=48, yarn_beta_fast=8.0, yarn_beta_slow=2.0), yarn(4, 48, 8, 2)),
    (scaled("none"), UNSTRETCHED),
    (lambda writer: writer.add_tensor("rope_freqs.weight", np.ones(PAIRS, np.float32)), UNSTRETCHED),
]


@pytest.mark.parametrize(("add", "wanted"), SCALED)
def test_stretched_positions_are_turned_as_llama_cpp_turns_them(
    plain: Path, tmp_path: Path, add: Callable[[Any], None], wanted: tuple[list[float], float]
) -> None:
    told = import_gguf(with_more(plain, tmp_path / "more.gguf", add), tmp_path / "out")
    assert told["parameters"] == sum(value.numel() for value in language_net().parameters())
    rotary = AutoModelForCausalLM.from_pretrained(tmp_path / "out").model.rotary_emb
    assert rotary.inv_freq.tolist() == pytest.approx(wanted[0], rel=1e-5)
    assert rotary.attention_scaling == pytest.approx(wanted[1])
    assert AutoConfig.from_pretrained(tmp_path / "out").max_position_embeddings == CONTEXT


REFUSED: list[tuple[Callable[[Any], None], str, str]] = [
    (scaled("longrope"), "", r"stretches positions by longrope \(factor 4\), which no config"),
    (scaled("yarn", yarn_log_mul=0.1), "", r"by yarn \(factor 4, yarn_log_multiplier 0.1.*\), which no config"),
    (scaled("linear", attn_factors=0.5), "", r"by linear \(factor 4, attn_factor 0.5\), which no config"),
    (lambda writer: writer.add_tensor("rope_freqs.weight", np.array([1, 2, 4, 8], np.float32)), "", r"its rope_freqs.weight stretches"),
    (
        lambda writer: writer.add_tensor("blk.1.attn_q.bias", np.ones(32, np.float32)),
        "",
        r"not read its tensor blk.1.attn_q.bias;",
    ),
    (lambda _: None, "blk.1.attn_norm.weight", r"has no tensor for model.layers.1.input_layernorm.weight; fetch"),
]


@pytest.mark.parametrize(("add", "leave", "said"), REFUSED)
def test_what_no_directory_would_say_alike_is_refused(
    plain: Path, tmp_path: Path, add: Callable[[Any], None], leave: str, said: str
) -> None:
    with pytest.raises(InputError, match=said) as caught:
        import_gguf(with_more(plain, tmp_path / "more.gguf", add, leave), tmp_path / "out")
    assert len(str(caught.value).splitlines()) == 1
    assert not (tmp_path / "out").exists()


END = "<|end|>"


def changed_tokenizer(**more: Any) -> dict[str, Any]:
    """The tiny nets' own, which puts nothing around a text, with other parts."""
    reader = Tokenizer.from_str(json.dumps(windows().tokenizer))
    for name, value in more.items():
        setattr(reader, name, value)
    found: dict[str, Any] = json.loads(reader.to_str())
    return found


def around(template: str) -> Any:
    return processors.TemplateProcessing(single=template, special_tokens=[(END, 0)])


def split(*, one_by_one: bool) -> Any:
    return pre_tokenizers.Sequence([pre_tokenizers.Digits(individual_digits=one_by_one), pre_tokenizers.ByteLevel(add_prefix_space=False)])


@pytest.mark.parametrize("template", ["$A", f"{END} $A", f"$A {END}", f"{END} $A {END}"])
@pytest.mark.parametrize("chat_template", [None, "{% for m in messages %}{{ m.content }}{% endfor %}"])
def test_a_files_tokenizer_is_the_releases_with_its_chat_template(tmp_path: Path, template: str, chat_template: str | None) -> None:
    tokenizer = changed_tokenizer(post_processor=around(template))
    write_gguf(language_net(), tokenizer, "F32", tmp_path / "a.gguf", GIVEN, ends=(0, 7), chat_template=chat_template)
    loaded = AutoTokenizer.from_pretrained(tmp_path, gguf_file="a.gguf")
    for text in ("import json", "", "def f(x):\n\treturn 12"):
        assert loaded(text)["input_ids"] == Tokenizer.from_str(json.dumps(tokenizer)).encode(text).ids
    assert loaded.chat_template == chat_template
    told = gguf.GGUFReader(tmp_path / "a.gguf").get_field
    assert told(gguf.Keys.Tokenizer.ADD_BOS).contents() is template.startswith(END)
    assert told(gguf.Keys.Tokenizer.ADD_EOS).contents() is template.endswith(END)
    assert told(gguf.Keys.Tokenizer.EOS_ID).contents() == 0, "the release's, whatever config.json says"


def test_digits_one_by_one_are_smollms(tmp_path: Path) -> None:
    """Merges of digits are there, and never reached."""
    tokenizer = changed_tokenizer(pre_tokenizer=split(one_by_one=True))
    taken = next(number for token, number in tokenizer["model"]["vocab"].items() if len(token) == 2)
    vocabulary = {token: number for token, number in tokenizer["model"]["vocab"].items() if number != taken}
    tokenizer["model"] |= {"vocab": vocabulary | {"12": taken}, "merges": [["1", "2"]]}
    write_gguf(language_net(), tokenizer, "F32", tmp_path / "a.gguf", GIVEN)
    assert gguf.GGUFReader(tmp_path / "a.gguf").get_field(gguf.Keys.Tokenizer.PRE).contents() == "smollm"


@pytest.mark.parametrize(
    ("more", "said"),
    [
        ({"pre_tokenizer": split(one_by_one=False)}, r"digits after splitting them off \(use_regex or individual_digits: false\)"),
        ({"pre_tokenizer": pre_tokenizers.ByteLevel(use_regex=False)}, "leaves words together"),
        ({"pre_tokenizer": pre_tokenizers.ByteLevel(add_prefix_space=True)}, r"makes \[221, 33, .*\] of .*, the file's would make \[33, "),
        ({"normalizer": normalizers.NFC()}, r"makes \[.*\] of 'naïve .*', the file's would make"),
        ({"post_processor": around(f"{END} {END} $A")}, "a GGUF file has one token before a text and one behind"),
    ],
)
def test_a_tokenizer_that_llama_cpp_has_not_is_refused(tmp_path: Path, more: dict[str, Any], said: str) -> None:
    with pytest.raises(InputError, match=said):
        write_gguf(language_net(), changed_tokenizer(**more), "F32", tmp_path / "a.gguf", GIVEN)
    assert list(tmp_path.iterdir()) == []
