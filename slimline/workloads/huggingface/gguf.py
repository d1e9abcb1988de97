"""A GGUF file as a Hugging Face directory: config, tokenizer and weights as floats, which transformers reads of it."""

import shutil
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import torch

from slimline.artifact.border import told_as
from slimline.artifact.folder import whole_folder, write_text
from slimline.errors import DiskError, InputError, MachineError
from slimline.workloads.huggingface import net  # noqa: F401 - transformers offline, and quiet
from slimline.workloads.huggingface.gguf_rope import FREQUENCIES, require_plain, scaling_of, stretched

from transformers import AutoModelForCausalLM, AutoTokenizer  # isort: skip
from transformers.modeling_gguf_pytorch_utils import TENSOR_PROCESSORS, TensorProcessor, get_gguf_hf_weights_map  # isort: skip

MAGIC = b"GGUF"
FLOAT_BYTES = 4
LICENCE, NAME = "general.license", "general.name"


def import_gguf(path: Path, into: Path) -> dict[str, Any]:
    """Write the directory of a GGUF file into a new folder; what is known of it: parameters, types of its weights, bytes of both.

    The weights are those of the file, widened to float32: what was rounded in the file stays rounded. What it says of its licence comes
    along as the model's card, and how it stretches positions as `rope_parameters`.

    Raises:
        InputError: it is no GGUF file, is cut short, of an architecture that transformers does not read, or holds more than it reads.
        MachineError: the package gguf is not installed.
        DiskError: the disk has no room for it.
    """
    reader = _header(path)
    told = dict(_texts(reader))
    require_plain(path, reader.tensors)
    tensors = [one for one in reader.tensors if one.name != FREQUENCIES]
    count = sum(int(one.n_elements) for one in tensors)
    if (needed := count * FLOAT_BYTES) > (free := shutil.disk_usage(into.absolute().parent).free):
        raise DiskError(f"{into}: needs {needed:,} bytes as float32, the disk has {free:,} free; make room, or name another disk")
    tokenizer, model = _loaded(path, reader, [one.name for one in tensors])
    known, longest = getattr(model.config, "rope_parameters", None), getattr(model.config, "max_position_embeddings", 0)
    if changed := stretched(path, scaling_of(reader.fields), known, longest):
        model.config.rope_parameters = changed
    del model.config.quantization_config
    model.hf_quantizer, model.is_quantized = None, False
    with whole_folder(into) as draft:
        model.save_pretrained(draft)
        tokenizer.save_pretrained(draft)
        write_text(draft / "README.md", _card(path, told))
    kinds = sorted({one.tensor_type.name for one in tensors})
    return {"parameters": count, "types": kinds, "file_bytes": path.stat().st_size, "directory_bytes": needed, **told}


def _header(path: Path) -> Any:
    """The file's tensors, each within the file, and its fields."""
    if not path.is_file():
        raise InputError(f"{path}: no such file; give a .gguf file")
    with path.open("rb") as stream:
        if stream.read(len(MAGIC)) != MAGIC:
            raise InputError(f"{path}: is no GGUF file")
    try:
        from gguf import GGUFReader
    except ModuleNotFoundError:
        raise MachineError("GGUF files are read by the package gguf, which is not installed; pip install 'slimline[lm]'") from None
    with told_as(lambda reason: InputError(f"{path}: is damaged or cut short: {reason}; fetch it again")):
        return GGUFReader(path)


def _loaded(path: Path, reader: Any, names: Sequence[str]) -> tuple[Any, Any]:
    """The file's tokenizer and net; transformers reads each of the named tensors, and has one for each weight.

    Raises:
        InputError: it does not.
    """
    where = {"gguf_file": path.name, "local_files_only": True}
    with told_as(lambda reason: InputError(f"{path}: transformers cannot read it: {reason}")):
        tokenizer = AutoTokenizer.from_pretrained(path.parent, **where)
        model, found = AutoModelForCausalLM.from_pretrained(path.parent, dtype=torch.float32, output_loading_info=True, **where)
        unread = [*_unread(reader, names, model), *found["unexpected_keys"]]
    if unread:
        raise InputError(f"{path}: transformers does not read its tensor {unread[0]}; take the model's own directory of safetensors")
    if lacking := sorted(found["missing_keys"]):
        raise InputError(f"{path}: has no tensor for {lacking[0]}; fetch it again, or take the model's own directory of safetensors")
    return tokenizer, model


def _unread(reader: Any, names: Sequence[str], model: Any) -> list[str]:
    """The tensors that transformers' older loader passed over in silence; its newer one tells them itself."""
    if model.hf_quantizer.supported:
        return []
    kind = TENSOR_PROCESSORS.get(reader.get_field("general.architecture").contents(), TensorProcessor)
    read = get_gguf_hf_weights_map(model, kind(config=model.config.to_dict()))
    return [name for name in names if not {name, name.removesuffix(".weight")} & set(read)]  # experts are named without


def _texts(reader: Any) -> Iterator[tuple[str, str]]:
    for key in (NAME, LICENCE):
        if (field := reader.get_field(key)) is not None:
            yield key, str(field.contents())


def _card(path: Path, told: dict[str, str]) -> str:
    licence = f"---\nlicense: {told[LICENCE]}\n---\n" if LICENCE in told else ""
    return f"{licence}# {told.get(NAME, path.stem)}\n\nFloat32 weights of {path.name}, as `slimline import-gguf` read them.\n"
