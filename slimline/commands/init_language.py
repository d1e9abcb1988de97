"""What `slimline init` says and writes of a language model: a Hugging Face directory, or the small net of our own, and texts."""

import math
from pathlib import Path
from typing import Any

from slimline.commands.init_huggingface import model_line
from slimline.commands.looked import Looked, asked, inline, params_text, told_splits
from slimline.errors import InputError
from slimline.params import DataParams
from slimline.workloads.documents import BYTES_A_TOKEN, Documents, cut_documents, find_documents
from slimline.workloads.huggingface.directory import PREFIX, located, read_config, weight_kinds
from slimline.workloads.known import LANGUAGE

CAUSAL_ENDS = ("ForCausalLM", "LMHeadModel")
"""How transformers calls the classes of language models."""
TEXT_ENDS = (".txt", ".md", ".rst", ".py", ".json", ".html", ".tex")
MARGIN = 0.03
"""By which share bits per byte may grow."""
LARGE = 20_000_000
"""Parameters from which a layer at a time is too long to try, and a few hundred windows are test enough."""
TEST_WINDOWS = 200
CALIBRATION = 64
"""Windows of calibration: GPTQ needs many."""
SMALL_PRUNE = """
  # A quarter of the perceptrons' neurons, those that add least to what is read of them; the rest fitted anew, and trained for an epoch.
  mlp25: {source: teacher, method: heads, fraction: 0, mlp_ratio: 0.25, criterion: activation, refit: true, recover: {epochs: 1}}"""
LARGE_PRUNE = """ {}
# To take neurons, key/value groups or layers and train again (hours on a CPU), see docs/language-models.md."""
GROUPS = (128, 64, 32)
"""Weights of an output that share a scale: the largest that goes into the net's widths."""


def is_language_model(folder: Path) -> bool:
    """Whether a folder is a Hugging Face directory of a causal language model."""
    if not (folder / "config.json").is_file():
        return False
    named = read_config(folder).get("architectures") or []
    return any(str(name).endswith(CAUSAL_ENDS) for name in named)


def holds_texts(folder: Path) -> bool:
    """Whether a folder is of text files: there are some, and no folder of pictures."""
    files = [path for path in folder.rglob("*") if path.is_file() and not path.name.startswith(".")]
    return bool(files) and sum(path.suffix.lower() in TEXT_ENDS for path in files) * 2 > len(files)


def look_at_language(texts: str, column: str | None, model: str, root: Path = Path()) -> Looked:
    """The findings and the params.yaml for texts, a folder or a file of them or a table's column, and a language model.

    Raises:
        DataError: there is too little text, or it is none; all reasons together.
        ArtifactError: the net's directory is refused.
        InputError: the directory is of another kind of net.
    """
    size, widths, context = _net(model, root)
    window = min(256, context)
    options = DataParams(path=texts, window=window, text=column)
    found = find_documents(options)
    options = options.model_copy(update=_shares(found, window, is_large=size > LARGE))
    cut = cut_documents(found, options, 0)
    splits = {split: sum(len(found.texts[number].encode()) for number in numbers) for split, numbers in cut.items()}
    facts = {"workload": LANGUAGE, "documents": len(found.texts), "bytes": found.size_bytes, "splits_bytes": splits, "window": window}
    return Looked(tuple(_lines(found, splits, len(cut["test"]), model, size)), facts, _text(options, model, size, widths))


def _net(model: str, root: Path) -> tuple[int, tuple[int, ...], int]:
    """How many parameters a net has, the widths of its matrices, and the most tokens that it takes."""
    if not model.startswith(PREFIX):
        return 0, (), 2048
    folder = located(model, root)
    if not is_language_model(folder):
        raise InputError(f"--model {model}: its config.json names no {' or '.join(CAUSAL_ENDS)}; name a target for another kind of net")
    config, kinds = read_config(folder), weight_kinds(folder)
    context = next((config[name] for name in ("max_position_embeddings", "n_positions") if isinstance(config.get(name), int)), 2048)
    shapes = [kind.shape for kind in kinds.values()]
    return sum(math.prod(shape) for shape in shapes), tuple(shape[1] for shape in shapes if len(shape) == 2), context


def _shares(found: Documents, window: int, *, is_large: bool) -> dict[str, Any]:
    """Splits that are large enough to show a difference, and no larger than a large net bears."""
    windows = found.size_bytes / (window * BYTES_A_TOKEN)
    test = min(0.2, max(0.02, TEST_WINDOWS / windows)) if is_large else 0.1
    return {"test_fraction": round(test, 3), "validation_fraction": round(test / 3, 3), "calibration_samples": CALIBRATION}


def _lines(found: Documents, splits: dict[str, int], tested: int, model: str, size: int) -> list[str]:
    cut = "; they are few and long, so each was cut into parts, which count as documents" if found.is_cut else ""
    twice = f"; {found.duplicates} stood there twice and count once" if found.duplicates else ""
    return [
        f"{found.where}: {len(found.texts):,} documents, {found.size_bytes:,} bytes{twice}{cut}",
        f"{told_splits(splits)} (bytes; whole documents apart, {tested:,} of them in test, which intervals resample)",
        f"the net is {model}, {size:,} numbers in its weights" if size else "the net is a small Llama of our own, trained here",
    ]


def _group(widths: tuple[int, ...]) -> int:
    return next((group for group in GROUPS if all(width % group == 0 for width in widths)), GROUPS[-1])


def _text(options: DataParams, model: str, size: int, widths: tuple[int, ...]) -> str:
    more = f", text: {inline(options.text)}" if options.text else ""
    data = (
        f"data: {{path: {inline(options.path)}{more}, window: {options.window}, test_fraction: {options.test_fraction}, "
        f"validation_fraction: {options.validation_fraction}, calibration_samples: {options.calibration_samples}}}"
    )
    is_large, group = size > LARGE, _group(widths)
    teacher = "epochs: 0" if size else "epochs: 3, batch_size: 16, learning_rate: 0.004, threads: 2"
    batch, tried = (2, 0) if is_large else (8, 64)
    sections = f"""# {"The directory's weights as they are" if size else "A small net trained on these texts"}.
teacher: {{source: train, {teacher}}}
# Windows of text that ranges are taken from; how many of validation each layer is tried on alone (0: not tried).
calibrate: {{samples: {CALIBRATION}, batch_size: {batch}, sensitivity_samples: {tried}}}

prune:{LARGE_PRUNE if is_large else SMALL_PRUNE}
quantize:
  # Int8 weights, and inputs rounded while running: a quarter of the bytes, the fastest on openvino.
  int8: {{source: teacher, method: dynamic}}
  # Int4 weights in groups of {group}, each rounded so that the layer's output stays (GPTQ); the embedding in int8.
  int4: {{source: teacher, method: gptq, bits: 4, group_size: {group}}}
factorize: {{}}
distill: {{}}
"""
    gate = f"gate: {{metric: bits_per_byte, max_relative_drop: {MARGIN}, {asked()}}}"
    variants = [*([] if is_large else ["mlp25"]), "int8", "int4"]
    return params_text(LANGUAGE, data, model_line(model), sections, gate, variants, batch_size=8, cached="int8")
