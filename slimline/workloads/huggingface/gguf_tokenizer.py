"""A byte-level BPE tokenizer as a GGUF file has it: its tokens and merges, what it puts around a text, and the chat template."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from slimline.artifact.border import told_as
from slimline.data.tokens import added_by, reader_of
from slimline.errors import InputError, StageError
from slimline.workloads.huggingface import net  # noqa: F401 - transformers offline, and quiet

from tokenizers import pre_tokenizers  # isort: skip
from transformers import AutoTokenizer  # isort: skip

NORMAL, CONTROL, USER_DEFINED = 1, 3, 4
"""llama.cpp's types of tokens."""
SMOLLM = "smollm"
TRIED = ("A fine day, isn't it?", "in 2024: 12,345.67 x 10", "  two\n\n\tlines \r\n", "naïve cafe\u0301 – 日本語 🙂", "import", "")
"""Texts that the file's tokenizer and its origin are held together on."""


def write_tokenizer(writer: Any, tokenizer: Mapping[str, Any], config: Any, ends: Sequence[int], chat_template: str | None) -> None:
    """Add a tokenizer to a file.

    Raises:
        InputError: it is none that llama.cpp has.
    """
    vocabulary: dict[str, int] = dict(tokenizer["model"]["vocab"])
    added = {one["id"]: one for one in tokenizer.get("added_tokens") or ()}
    vocabulary |= {one["content"]: number for number, one in added.items()}
    by_id = {number: token for token, number in vocabulary.items()}
    kinds = {number: CONTROL if one["special"] else USER_DEFINED for number, one in added.items()}
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre(splitting(tokenizer))
    writer.add_token_list([by_id.get(number, f"[unused{number}]") for number in range(config.vocab_size)])
    writer.add_token_types([kinds.get(number, NORMAL) for number in range(config.vocab_size)])
    writer.add_token_merges([one if isinstance(one, str) else " ".join(one) for one in tokenizer["model"]["merges"]])
    before, behind = _around(tokenizer)
    first, last = before or config.bos_token_id, behind or ends or config.eos_token_id
    for add, number in ((writer.add_bos_token_id, first), (writer.add_eos_token_id, last)):
        one = number[0] if isinstance(number, Sequence) else number
        if one is not None and one < config.vocab_size:
            add(one)
    writer.add_add_bos_token(bool(before))
    writer.add_add_eos_token(bool(behind))
    if chat_template is not None:
        writer.add_chat_template(chat_template)


def splitting(tokenizer: Mapping[str, Any]) -> str:
    """What llama.cpp calls the way in which a byte-level BPE tokenizer splits a text first.

    Raises:
        InputError: it is another tokenizer, or splits otherwise.
    """
    steps = tokenizer.get("pre_tokenizer") or {}
    found = [step for step in steps.get("pretokenizers", [steps]) if step]
    kinds = tuple(step["type"] for step in found)
    known = {("ByteLevel",): "gpt-2", ("Digits", "ByteLevel"): SMOLLM}
    if tokenizer["model"].get("type") != "BPE" or kinds not in known:
        raise InputError(
            f"export-gguf: llama.cpp has no tokenizer like {tokenizer['model'].get('type')} over {', '.join(kinds) or 'nothing'}"
        )
    if not found[-1].get("use_regex", True) or (kinds[0] == "Digits" and not found[0]["individual_digits"]):
        raise InputError(
            "export-gguf: llama.cpp has no byte-level tokenizer that leaves words together, or digits after splitting them off "
            "(use_regex or individual_digits: false); use export-hf"
        )
    return known[kinds]


def _around(tokenizer: Mapping[str, Any]) -> tuple[list[int], list[int]]:
    """The tokens that a tokenizer puts before and behind a text.

    Raises:
        InputError: they are more than one, as GGUF files have none.
    """
    before, behind = added_by(_reader(tokenizer))
    if max(len(before), len(behind)) > 1:
        raise InputError(
            f"export-gguf: the tokenizer puts the tokens {before} before a text and {behind} behind it; a GGUF file has one token before "
            "a text and one behind; use export-hf"
        )
    return before, behind


def require_alike(folder: Path, name: str, tokenizer: Mapping[str, Any], chat_template: str | None) -> None:
    """Hold the tokenizer that transformers reads of a file to the tokens of its origin, and the template to its own.

    Raises:
        InputError: the file's tokenizer makes others of a text.
        StageError: transformers does not read it.
    """
    with told_as(lambda reason: StageError(f"export-gguf: transformers does not load the tokenizer that was written: {reason}")):
        loaded = AutoTokenizer.from_pretrained(folder, gguf_file=name, local_files_only=True)
    if splitting(tokenizer) == SMOLLM:  # which transformers reads as gpt-2
        own = loaded.backend_tokenizer
        own.pre_tokenizer = pre_tokenizers.Sequence([pre_tokenizers.Digits(individual_digits=True), own.pre_tokenizer])
    reader = _reader(tokenizer)
    for text in TRIED:
        if (wanted := reader.encode(text).ids) != (found := loaded(text)["input_ids"]):
            raise InputError(f"export-gguf: the tokenizer makes {wanted} of {text!r}, the file's would make {found}; use export-hf")
    if loaded.chat_template != chat_template:
        raise StageError("export-gguf: the file's chat template is not the one that was given; use export-hf, and report it")


def _reader(tokenizer: Mapping[str, Any]) -> Any:
    return reader_of({**tokenizer, "padding": None, "truncation": None})
