"""How a GGUF file stretches its rotation of positions, as a config of transformers says it: transformers reads nothing of it."""

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from slimline.errors import InputError

FREQUENCIES = "rope_freqs.weight"
"""What each pair's frequency is divided by: Llama 3.1 and its kin."""
SCALING, OLD_FACTOR = "rope.scaling.", "rope.scale_linear"
BETAS = {"yarn_beta_fast": "beta_fast", "yarn_beta_slow": "beta_slow"}
READ = {"none": set[str](), "linear": set[str](), "yarn": set(BETAS)}
"""Each kind of llama.cpp's that transformers computes alike, and what is read of it beside COMMON."""
COMMON, NEUTRAL = {"type", "factor", "original_context_length", "finetuned"}, {"attn_factor": 1.0}


def scaling_of(fields: Mapping[str, Any]) -> dict[str, Any]:
    """What a file's fields say of it, by llama.cpp's names without the architecture."""
    return {
        name.partition(SCALING)[2] or "factor": field.contents()
        for name, field in fields.items()
        if SCALING in name or name.endswith(OLD_FACTOR)
    }


def require_plain(path: Path, tensors: Iterable[Any]) -> None:
    """Refuse frequencies of a file's own, which no config of transformers holds; those that are all 1 say nothing.

    Raises:
        InputError: there are such.
    """
    from gguf import dequantize  # which only GGUF files need

    for one in tensors:
        if one.name == FREQUENCIES and not (dequantize(one.data, one.tensor_type) == 1).all():
            raise InputError(
                f"{path}: its {FREQUENCIES} stretches positions (as Llama 3.1 does), which transformers does not read; "
                "take the model's own directory of safetensors"
            )


def stretched(path: Path, told: Mapping[str, Any], known: Any, longest: int) -> dict[str, Any]:
    """The `rope_parameters` for what `scaling_of` found, nothing where it changes nothing.

    `known` are those that transformers made, `longest` is the context that the net was made for.
    llama.cpp takes a factor without a kind as linear, and multiplies yarn's vectors by 1 + 0.1 ln(factor), as transformers does.
    Peng et al. 2023, "YaRN: Efficient Context Window Extension of Large Language Models", arXiv:2309.00071.

    Raises:
        InputError: transformers has no such kind, or computes it otherwise.
    """
    kind, factor = str(told.get("type", "linear")), float(told.get("factor", 0)) or 1.0
    read = READ.get(kind, set[str]()) | COMMON
    other = [f"{name} {value}" for name, value in told.items() if name not in read and value != NEUTRAL.get(name)]
    is_plain = isinstance(known, Mapping) and "rope_theta" in known and known.get("rope_type", "default") == "default"
    if kind not in READ or other or not (is_plain or factor == 1):
        asked = ", ".join([f"factor {factor:g}", *other])
        raise InputError(
            f"{path}: stretches positions by {kind} ({asked}), which no config of transformers says alike; "
            "take the model's own directory of safetensors"
        )
    if kind == "none" or factor == 1:
        return {}
    found = {**known, "rope_type": kind, "factor": factor}
    if kind == "linear":
        return found
    betas = {theirs: float(told[ours]) for ours, theirs in BETAS.items() if ours in told}
    return {**found, "original_max_position_embeddings": int(told.get("original_context_length", longest)), **betas}
