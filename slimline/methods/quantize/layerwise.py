"""A quantized model beside its float reference, layer by layer: each layer can be mended before the next one is reached."""

import functools
from collections import Counter
from collections.abc import Callable, Iterable

from torch import Tensor, nn

from slimline.data.batch import Batch
from slimline.data.padding import NO_PADDING, beside_padding, there_of, without_padding
from slimline.methods.layer_calls import on_output, run_hooked

Summary = Callable[[nn.Module, Tensor], Tensor]
Mend = Callable[[str, Tensor, Tensor, Tensor], Tensor | None]
"""(layer name, the quantized layer's input and output, the summary of the reference's output) -> a new output, if any."""


def mend_layers(reference: nn.Module, twin: nn.Module, layers: Iterable[str], inputs: Batch, *, summary: Summary, mend: Mend) -> None:
    """Run `inputs` through `reference`, then through `twin`, whose `layers` are mended in the order in which they run.

    What `mend` returns goes on to the layers that follow, so that each meets what the mended ones before it give.
    A layer that runs more than once has no output of its own to mend towards and is left as it is. Of Linear layers `summary` and `mend`
    see no padding (data/padding.py).
    """
    wanted: dict[str, Tensor] = {}
    runs: Counter[str] = Counter()

    def there(layer: nn.Module) -> Tensor:
        return there_of(inputs) if isinstance(layer, nn.Linear) else NO_PADDING

    def note(name: str, layer: nn.Module, _: Tensor, output: Tensor) -> None:
        runs[name] += 1
        wanted[name] = summary(layer, without_padding(output, there(layer)))

    def change(name: str, layer: nn.Module, x: Tensor, output: Tensor) -> Tensor | None:
        if runs[name] != 1:
            return None
        mask = there(layer)
        mended = mend(name, without_padding(x, mask), without_padding(output, mask), wanted.pop(name))
        return None if mended is None else beside_padding(mended, output, mask)

    names = list(layers)
    _run(reference, {name: functools.partial(note, name) for name in names}, inputs)
    _run(twin, {name: functools.partial(change, name) for name in names}, inputs)


def _run(model: nn.Module, hooks: dict[str, Callable[..., Tensor | None]], inputs: Batch) -> None:
    run_hooked(model, inputs, [on_output(model.get_submodule(name), hook) for name, hook in hooks.items()])
