"""A variant written back as a directory that `from_pretrained` loads, where one config.json says how all its layers are."""

import shutil
from collections.abc import Mapping, Sequence
from pathlib import Path
from types import MappingProxyType
from typing import Any

import torch
from torch import Tensor, nn

from slimline.artifact.border import told_as
from slimline.artifact.folder import whole_folder, write_json
from slimline.artifact.json_file import parse_json
from slimline.data.batch import Batch
from slimline.data.windows import Windows
from slimline.errors import InputError, SlimlineError, StageError
from slimline.workloads.huggingface.net import Plain, body_of, built
from slimline.workloads.huggingface.settings import Weights, changed_settings, renumbered, shapes_of
from slimline.workloads.huggingface.windows import GENERATION

NOTHING: Mapping[str, str] = MappingProxyType({})
TOLERANCE = 1e-5
ENDINGS, WEIGHTS = {".json", ".txt", ".model", ".jinja"}, ("config.json", "model.safetensors.index.json")
"""What is copied beside the weights (tokenizer, processor, how answers are made), and what of it is not."""


def write_back(
    model: nn.Module,
    net: Plain,
    samples: Batch,
    into: Path,
    beside: Path | Windows,
    carried: Mapping[str, str] = NOTHING,
    ends: Sequence[int] = (),
) -> dict[str, Any]:
    """Write config.json, model.safetensors and what lies beside them into a new folder; returns the settings that changed.

    `beside` is the directory that the net came from, whose tokenizer or processor is copied, or, without one, a language model's tokenizer;
    `carried` are licence and model card, `ends` the tokens that end an answer of the release (a tokenizer `beside` has its own). What
    is loaded from there gives the same outputs on `samples`, or nothing is written.

    Raises:
        InputError: no config describes the model; the message says which layers are in the way. Or generation_config.json is damaged.
    """
    whole, changes = described(model, net)
    with whole_folder(into) as draft:
        body_of(whole).save_pretrained(draft)
        if isinstance(beside, Windows):
            _write_tokenizer(beside, draft)
        else:
            _copy_beside(beside, draft)
        _end_answers(draft, ends, beside)
        for name, text in carried.items():
            (draft / name).write_text(text, encoding="utf-8")
        _require_equal(model, whole, draft, samples)
    return changes


def described(model: nn.Module, net: Plain) -> tuple[nn.Module, dict[str, Any]]:
    """The same net, built from a config that describes it; and the settings in which that differs from `net`'s.

    Raises:
        InputError: no config does; the message says which layers are in the way.
    """
    body = body_of(model)
    values, dropped = renumbered(body)
    changes = changed_settings(net, values, dropped) | _untied(body)
    plain = {**net, "config": {**net["config"], **changes}}
    _require_described(plain, values, changes)
    whole = built(plain).eval()
    body_of(whole).load_state_dict(dict(values))
    return whole, changes


def _untied(body: Any) -> dict[str, bool]:
    """What to say where the head of a language model is no longer its embedding."""
    if not getattr(body.config, "tie_word_embeddings", False) or body.get_output_embeddings() is None:
        return {}
    pair = [layer.weight for layer in (body.get_input_embeddings(), body.get_output_embeddings())]
    return {} if pair[0] is pair[1] or torch.equal(*pair) else {"tie_word_embeddings": False}


def _write_tokenizer(windows: Windows, folder: Path) -> None:
    """A tokenizer as transformers loads it."""
    from transformers import PreTrainedTokenizerFast

    reader = windows.reader
    names = {"pad_token": reader.id_to_token(windows.pad_id)} | ({"eos_token": reader.id_to_token(windows.ends[0])} if windows.ends else {})
    made = PreTrainedTokenizerFast(tokenizer_object=reader, model_max_length=windows.longest, **names)
    made.chat_template = windows.chat_template
    made.save_pretrained(folder)


def _copy_beside(origin: Path, draft: Path) -> None:
    """Tokenizer, processor, pooling and how answers are made, as they are in the directory that the net came from."""
    for path in sorted((*origin.glob("*"), *origin.glob("[0-9]_*/*"))):
        inside = path.relative_to(origin)
        if path.is_file() and path.suffix in ENDINGS and str(inside) not in WEIGHTS:
            (draft / inside).parent.mkdir(exist_ok=True)
            shutil.copyfile(path, draft / inside)


def _end_answers(draft: Path, ends: Sequence[int], origin: Path | Windows) -> None:
    """Let `generate` stop where the release does; all else of generation_config.json stays.

    Raises:
        InputError: transformers cannot read it; it would take what config.json says, without a word.
    """
    from transformers import GenerationConfig

    if not (path := draft / GENERATION).is_file():
        return
    own = origin.ends if isinstance(origin, Windows) else ends
    where = origin / GENERATION if isinstance(origin, Path) else GENERATION
    with told_as(lambda reason: InputError(f"{where}: is no generation config: {reason}; mend or remove it")):
        settings = dict(parse_json(path.read_bytes()))
        write_json(path, settings | ({"eos_token_id": list(own)} if own else {}))
        GenerationConfig.from_pretrained(draft, local_files_only=True)


def _require_described(net: Plain, values: Weights, changes: Plain) -> None:
    """Hold the config to describing exactly these weights.

    Raises:
        InputError: it does not, or transformers takes no such config.
    """
    try:
        wanted = shapes_of(net)
    except SlimlineError as error:
        raise InputError(f"transformers takes no config with {dict(changes)}: {error}") from error
    found = {name: tuple(value.shape) for name, value in values.items()}
    wrong = sorted(name for name in wanted.keys() | found.keys() if wanted.get(name) != found.get(name))
    if wrong:
        name = wrong[0]
        kind, told = net["config"]["model_type"], f" (with {dict(changes)})" if changes else ""
        raise InputError(
            f"no config of {kind} describes {len(wrong)} of {len(found)} tensors; first: {name} is "
            f"{list(found[name]) if name in found else 'not there'}, such a config{told} has "
            f"{list(wanted[name]) if name in wanted else 'none of that name'}"
        )


def _require_equal(model: nn.Module, whole: nn.Module, folder: Path, samples: Batch) -> None:
    """Hold what `from_pretrained` loads to the model's own outputs.

    Raises:
        StageError: they differ.
    """
    own = body_of(whole)
    with told_as(lambda reason: StageError(f"export-hf: transformers does not load what was written: {reason}")):
        loaded = type(own).from_pretrained(folder, local_files_only=True, use_safetensors=True, dtype=torch.float32)
    own.load_state_dict({name: value for name, value in loaded.state_dict().items() if name in own.state_dict()})  # or a pooler of its own
    with torch.inference_mode():
        wanted, found = model.eval()(**samples), whole.eval()(**samples)
    logits = found if isinstance(found, Tensor) else found.logits
    if not torch.allclose(wanted, logits, rtol=0, atol=TOLERANCE * max(1.0, float(wanted.abs().max()))):
        raise StageError("export-hf: the directory would give other outputs than the variant; take the target eager or onnxruntime")
