"""The matrix layers of a model's blocks one by one: each is changed in place, and the next one reads what the changed ones give."""

from collections.abc import Callable, Iterator

from torch import nn

from slimline.data.batch import Batch
from slimline.methods.blocks import Gram, blocks_of, matrix_layers

MatrixLayer = nn.Linear | nn.Conv1d | nn.Conv2d


def layers_in_order(model: nn.Module, inputs: Batch, wanted: Callable[[str, MatrixLayer], bool]) -> Iterator[tuple[str, MatrixLayer, Gram]]:
    """The `wanted` layers (asked by name and layer) in the order in which they run: (name, layer, what its matrix multiplies).

    Where the model is a stack of blocks, the layers outside of it are left out, and everywhere those that run more than once. Layers that
    read one tensor share their Gram, which is summed over `inputs` when the first of them is reached.
    """
    for block in blocks_of(model, inputs):
        layers = matrix_layers(block.module)
        for group in block.groups():
            chosen = [name for name in group if wanted(block.full_name(name), layers[name])]
            gram = block.gram(chosen[0]) if chosen else Gram()
            for name in chosen:
                yield block.full_name(name), layers[name], gram
