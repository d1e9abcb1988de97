"""What the stage `data` keeps of a Hugging Face directory: the config of its net and its own preprocessing."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from torch import nn

from slimline.artifact.border import told_as
from slimline.artifact.json_file import read_json
from slimline.data.preprocessing import Pictures, Preprocessing, Texts
from slimline.data.table import Table
from slimline.errors import ArtifactError, DataError, WorkloadError
from slimline.params import DataParams, ModelParams
from slimline.workloads.facts import Facts
from slimline.workloads.huggingface.directory import CONFIG, carried, located, read_config, weight_kinds
from slimline.workloads.huggingface.net import as_plain, parsed, require_accounted, sketched, with_labels

LOOKED_AT = 200
"""Texts of the data that tokenizers are held together on."""
POOLING = "1_Pooling/config.json"
MODES = {"pooling_mode_mean_tokens": "mean", "pooling_mode_cls_token": "cls"}


def with_net(facts: Facts, workload: str, data: DataParams, model: ModelParams, train: Table) -> Facts:
    """The facts with the directory's config in them, and with its preprocessing in place of the door's.

    Raises:
        ArtifactError: the directory is refused.
        DataError: `data.image_size` is another one than the directory's processor makes.
        WorkloadError: `workload: table`, or settings of model.config that its config does not have.
    """
    if not isinstance(facts.preprocessing, Pictures | Texts):
        raise WorkloadError(f"params.yaml: model.architecture: {model.architecture} is for pictures and texts; {workload} takes perceptron")
    folder = located(model.architecture)
    config = parsed(read_config(folder), {}, str(folder / CONFIG))
    labels = facts.objective.get("labels", ())
    net: dict[str, Any] = {"config": as_plain(with_labels(config, labels)), "task": workload}
    require_accounted(sketched(net), weight_kinds(folder), str(folder))
    preprocessing = _preprocessing(folder, sketched(net, model.config), facts, data, train)
    return facts.model_copy(update={"net": net, "preprocessing": preprocessing, "carried": carried(folder)})


def _preprocessing(folder: Path, net: nn.Module, facts: Facts, data: DataParams, train: Table) -> Preprocessing:
    before = facts.preprocessing
    if isinstance(before, Texts):
        from slimline.workloads.huggingface.tokenizer import tokens_of

        return tokens_of(folder, before.column, net, _texts(train, before.column))
    from slimline.workloads.huggingface.processor import pictures_of

    assert isinstance(before, Pictures)
    found = pictures_of(folder, before.column, getattr(net.config, "num_channels", 3))
    if data.image_size not in (None, found.height):
        raise DataError(
            f"params.yaml: data.image_size: {data.image_size}, but the image processor of {folder} makes pictures of "
            f"{found.height}x{found.width}; leave image_size out"
        )
    _require_taken(folder, net, found)
    return found


def _require_taken(folder: Path, net: nn.Module, found: Pictures) -> None:
    """Hold the net to taking pictures of the processor's size; nothing is computed.

    Raises:
        ArtifactError: it takes another one.
    """
    with told_as(
        lambda reason: ArtifactError(f"{folder}: the image processor makes pictures of {found.height}x{found.width}, its net: {reason}")
    ):
        net.eval()(torch.empty(1, len(found.mean), found.height, found.width, device="meta"))


def _texts(train: Table, column: str) -> Sequence[str]:
    return [text for text in train.rows(slice(0, LOOKED_AT))[column] if isinstance(text, str)]


def pooling_of(folder: Path) -> dict[str, Any]:
    """How a directory of sentence-transformers makes one vector of a text: {"mode": "mean" or "cls", "normalised"}.

    Raises:
        ArtifactError: it does not say how, or in a way that is none of these.
    """
    if not (folder / POOLING).is_file():
        raise ArtifactError(f"{folder}: holds no {POOLING}, which says how the vectors of words become one; name a data.target instead")
    asked = [name for name, value in read_json(folder / POOLING).items() if name.startswith("pooling_mode_") and value is True]
    if len(asked) != 1 or asked[0] not in MODES:
        raise ArtifactError(f"{folder / POOLING}: asks for {', '.join(asked) or 'nothing'}; known: {', '.join(MODES)}")
    modules = read_json(folder / "modules.json") if (folder / "modules.json").is_file() else []
    return {"mode": MODES[asked[0]], "normalised": any(str(one.get("type")).endswith(".Normalize") for one in modules)}
