"""What an untrained model takes and gives, within the bounds that the stage `data` found."""

from collections.abc import Mapping, Sequence

from torch import nn

from slimline.artifact.json_file import read_json
from slimline.data.prepared import PREPARED
from slimline.data.samples import Split, head
from slimline.data.signature import Signature, signature_of
from slimline.training.fit import predict


def signature_from(model: nn.Module, validation: Split) -> Signature:
    """What the model takes and gives; the bounds of axes that vary are those of all splits, as the stage `data` found them."""
    few = head(validation, 2).inputs
    found = signature_of([few], predict(model, few))
    varies = read_json(PREPARED / "manifest.json")["varies"]
    inputs = [one.model_copy(update={"varies": _bounds(varies.get(one.name, {}))}) for one in found.inputs]
    return found.model_copy(update={"inputs": tuple(inputs)})


def _bounds(axes: Mapping[str, Sequence[int]]) -> dict[int, tuple[int, int]]:
    return {int(axis): (low, high) for axis, (low, high) in axes.items()}
