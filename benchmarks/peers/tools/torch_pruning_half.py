"""Torch-Pruning's README example: half of the channels by group magnitude, then fine-tuned with the teacher's own recipe.

https://github.com/VainF/Torch-Pruning, "High-level Pruners"; the result is float32, exported to ONNX with a free batch size.
"""

import torch
import torch_pruning
from handed import handed

given = handed()
from net import Net  # noqa: E402
from torch import nn  # noqa: E402

net = Net(given)
wrapped, example = net.by_place(), net.inputs(slice(0, 2))
last = [layer for layer in wrapped.modules() if isinstance(layer, nn.Linear | nn.Conv2d | nn.Conv1d)][-1]
pruner = torch_pruning.pruner.BasePruner(
    wrapped,
    example,
    importance=torch_pruning.importance.GroupMagnitudeImportance(),
    pruning_ratio=0.5,
    ignored_layers=[last],
    round_to=8,
)
pruner.step()
from fine_tuning import fine_tuned  # noqa: E402

fine_tuned(net, wrapped)
names = given.facts["inputs"]
free = {name: {0: torch.export.Dim("batch")} for name in names}
torch.onnx.export(
    wrapped,
    example,
    str(given.out / "model.onnx"),
    input_names=names,
    output_names=given.facts["outputs"],
    dynamic_shapes=(tuple(free.values()),),
    dynamo=True,
    external_data=False,
)
given.made("torch-pruning", "torch", pruning_ratio=0.5, epochs=given.facts["epochs"])
