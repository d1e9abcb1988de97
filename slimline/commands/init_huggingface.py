"""What `slimline init` writes for a net of a Hugging Face directory: fine-tuning, and variants that suit a transformer or a CNN."""

from pathlib import Path
from typing import NamedTuple

from slimline.commands.looked import inline
from slimline.workloads.huggingface.directory import PREFIX, is_directory, located, read_config, weight_kinds

HEADS = ("num_attention_heads", "n_heads", "encoder_attention_heads")
"""What a config calls its number of attention heads; a net that has none is taken for a CNN."""
FINE, COARSE = 5e-5, 3e-4
"""Learning rates of fine-tuning: of transformers, and of CNNs."""


NECKS = {
    "bert": "bert.pooler.dense",
    "distilbert": "pre_classifier",
    "roberta": "classifier.dense",
    "xlm-roberta": "classifier.dense",
    "electra": "classifier.dense",
}
"""The layer before the head, by model_type: as wide as the net in every config, so that it stays whole where a net is written back."""


class Suggestion(NamedTuple):
    """A line of params.yaml for the net, its sections from teacher to distill, and the variants that they name."""

    model: str
    sections: str
    variants: tuple[str, ...]


def suggested(model: str, root: Path, calibration: int, *, trains: bool = True) -> Suggestion:
    """What to try with the net of `hf:DIRECTORY`; without `trains` its weights stay as they are.

    Raises:
        WorkloadError, ArtifactError: there is no such directory, or it is refused.
    """
    folder = located(model, root)
    config = read_config(folder)
    weight_kinds(folder)
    if not any(name in config for name in HEADS):
        return Suggestion(model_line(model), *_network(calibration, trains=trains))
    neck = NECKS.get(config["model_type"]) if trains else None
    return Suggestion(model_line(model), *_transformer(calibration, neck, trains=trains))


def model_line(model: str) -> str:
    """The section `model` for any architecture: DVC watches the path."""
    is_file = ".py:" in model
    place = model.removeprefix(PREFIX) if is_directory(model) and "@" not in model else model.rpartition(":")[0] if is_file else "workloads"
    return f"model: {{architecture: {inline(model)}, path: {inline(place)}}}"


def _recover(epochs: int, rate: float) -> str:
    return f"recover: {{epochs: {epochs}, learning_rate: {rate:.5f}, threads: 2}}"


def _teacher(epochs: int, rate: float, calibration: int, *, trains: bool) -> str:
    how = f"epochs: {epochs}, batch_size: 32, learning_rate: {rate:.5f}, patience: 2, threads: 2" if trains else "epochs: 0"
    return f"""# The directory's weights{", trained on for a few epochs" if trains else " as they are"}.
teacher: {{source: train, {how}}}
calibrate: {{samples: {calibration}, batch_size: 32}}
"""


def _transformer(calibration: int, neck: str | None, *, trains: bool) -> tuple[str, tuple[str, ...]]:
    recover = _recover(2, FINE)
    whole = f"keep: [{neck}], " if neck else ""
    svd = "svd: {source: teacher, method: svd, energy: 0.9" + f", {recover}}}"
    sections = f"""{_teacher(4, FINE, calibration, trains=trains)}
prune:
  # A quarter of the attention heads and of the perceptrons' neurons.
  heads25: {{source: teacher, method: heads, fraction: 0.25, mlp_ratio: 0.25, {recover}}}
  # Half of the perceptrons' neurons: every layer stays of one width, so that `slimline export-hf` can write it back.
  mlp50: {{source: teacher, method: heads, fraction: 0, mlp_ratio: 0.5, {whole}{recover}}}
  # A quarter of the layers.
  shorter: {{source: teacher, method: depth, ratio: 0.25, {recover}}}
quantize:
  # Int8 weights and activations; the rows of the embedding have a scale each.
  int8: {{source: teacher, method: static}}
  int8-dynamic: {{source: teacher, method: dynamic}}
factorize:
  # Matrices of lower rank.
  {svd}
distill: {{}}
"""
    return sections, ("heads25", "mlp50", "shorter", "int8", "int8-dynamic", "svd")


def _network(calibration: int, *, trains: bool) -> tuple[str, tuple[str, ...]]:
    recover = _recover(4, COARSE)
    sections = f"""{_teacher(8, COARSE, calibration, trains=trains)}
prune:
  # Half of the channels: smaller and faster on every runtime.
  channels50: {{source: teacher, method: channels, ratio: 0.5, round_to: 8, {recover}}}
quantize:
  # Int8 weights and activations: four times smaller, faster where the runtime has the kernels.
  int8: {{source: teacher, method: static}}
  channels50-int8: {{source: channels50, method: static}}
factorize: {{}}
distill: {{}}
"""
    return sections, ("channels50", "int8", "channels50-int8")
