"""What no target will take, told from the layers of a source that is stored already: before a run has come as far as compiling it.

Nothing here imports torch. A source that is not stored, or was made by other params, is not judged: the stage compile says the same.
"""

import fnmatch
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from slimline.artifact.json_file import read_json
from slimline.artifact.weight_header import weight_shapes
from slimline.commands.advice_case import Layer, named
from slimline.errors import ArtifactError
from slimline.params import TEACHER, DynamicParams, Params

MODELS, STATISTICS = Path("data/models"), Path("data/calibration/statistics.json")
CONVOLUTIONS, RECURRENT = ("Conv1d", "Conv2d"), ("LSTM", "GRU")
REASON = "ExecuTorch's XNNPACK ranges the inputs of Linear layers alone while running"


def refusals(params: Params, root: Path) -> Iterator[str]:
    """One line for each variant by `dynamic` that is deployed on executorch and has layers which XNNPACK cannot run so."""
    if "executorch" not in params.deploy.targets:
        return
    for name, config in params.quantize.items():
        if name not in params.deploy.variants or not isinstance(config, DynamicParams):
            continue
        layers = _layers(params, root, config.source)
        kept = {layer for pattern in config.keep_float for layer in fnmatch.filter(layers, pattern)}
        if found := [Layer(layer, ()) for layer in layers if layer not in kept]:
            yield (
                f"params.yaml: deploy: {name!r} cannot run on 'executorch': {REASON}, and it has {named(found)} of another kind; "
                f"name what is no Linear in quantize.{name}.keep_float, or deploy it on onnxruntime or openvino"
            )


def _layers(params: Params, root: Path, source: str) -> tuple[str, ...]:
    """The convolutions and recurrent layers of a stored variant: by their type in the teacher's statistics, if it still has them."""
    manifest = _read(root / MODELS / source / "manifest.json")
    config = None if source == TEACHER else params.variants[source][1].model_dump(mode="json")
    if manifest.get("workload") != params.workload or (config is not None and manifest.get("config") != config):
        return ()
    types = {name: entry.get("type") for name, entry in _read(root / STATISTICS).get("layers", {}).items()}
    shapes = weight_shapes(root / MODELS / source)
    convolutions = {name for name, kind in types.items() if kind in CONVOLUTIONS and len(shapes.get(f"{name}.weight", ())) > 2}
    recurrent = {name for name, kind in types.items() if kind in RECURRENT and f"{name}.weight_hh_l0" in shapes}
    return tuple(name for name in types if name in convolutions | recurrent)


def _read(path: Path) -> dict[str, Any]:
    try:
        found = read_json(path)
    except ArtifactError:
        return {}
    return found if isinstance(found, dict) else {}
