"""Quantization-aware training: fine-tune with the rounding of the int8 kernels in place, then plan what was learned.

Jacob et al. 2018, arXiv:1712.05877; learned ranges: LSQ, arXiv:1902.08153, and LSQ+, arXiv:2004.09576 (see fake_quant.py).
"""

import copy
import dataclasses
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize

from slimline.data.batch import Batch, Tensors, clone
from slimline.data.samples import Samples
from slimline.errors import Impossible
from slimline.methods.data import MethodData
from slimline.methods.layer_calls import on_input
from slimline.methods.quantize.fake_quant import FakeInput, FakeWeight, round_input
from slimline.methods.quantize.fold import fold_batchnorm
from slimline.methods.quantize.plan import Plan, recurrent_layers, weighted_of_kind
from slimline.methods.quantize.quantized import Quantized
from slimline.methods.quantize.simulate import simulate
from slimline.methods.quantize.static import static
from slimline.methods.shared_weights import shared_weights
from slimline.params.quantize import CalibratedParams, QatParams, StaticParams
from slimline.training.fit import Loss, fit
from slimline.training.lora import fit_updates
from slimline.training.masks import ORIGINAL, zero_masks
from slimline.training.records import Records
from slimline.training.taught import taught

FOLDED = "Batch norms are folded into the layers before them."
LEARNED = "From the calibrated ranges on, those of inputs and weights were trained with the weights."
NOT_BETTER = "No epoch was better on validation than static int8, from which training started: that is what is kept."


def qat(model: nn.Module, config: QatParams, *, statistics: Records, data: MethodData) -> Quantized:
    """Start from static int8 with batch norms folded, train it as it will run, and plan the same int8 kernels.

    The epoch with the lowest validation loss of the quantized model is kept; where none is better, that is where it started.
    Zero epochs are static quantization of the folded model. Pruned weights stay zero. `statistics` are those of `model`. With `lora_rank`
    the weights get low-rank updates, which are rounded with them and then merged; biases and ranges are trained as ever.
    Folding comes first, not after: with batch norms that go on learning, a net whose channels lie far apart came back less far.

    Raises:
        InputError: keep_float names a layer that does not exist.
        StageError: two modules share a weight that would be quantized, or torch.export cannot follow the model.
    """
    start = _started(model, config, statistics, data)
    if config.epochs == 0:
        return start
    _refuse_shared_weights(start)
    student = prepared(start.model, start.plan, data.example, learned=config.ranges == "learned")
    train = fit if config.lora_rank is None else partial(fit_updates, trained=_ranges(student))
    with _guided(data, model, config) as (given, loss):
        trained, history = train(student, config=config, loss=loss, masks=_masks(start), **given.settings)
    if history.best_epoch == 0:
        return dataclasses.replace(start, history=history, notes=(*start.notes, NOT_BETTER))
    notes = (*start.notes, LEARNED) if config.ranges == "learned" else start.notes
    return Quantized(converted(trained, start.model), learned_plan(trained, start.plan), history=history, notes=notes)


def prepared(model: nn.Module, plan: Plan, example: Batch, *, learned: bool) -> nn.Module:
    """A copy of `model` whose static int8 layers round their weights and inputs, with what they train as parameters.

    Layers that read the same tensor share one range, for in a runtime's graph that tensor is quantized once. Recurrent layers
    are rounded as simulation rounds them, and frozen; all else that the plan leaves in float is trained as it is.
    """
    twin = _with_frozen_recurrent(model, plan)
    names = weighted_of_kind(plan, "static")
    symmetric = bool(names) and plan["scheme"]["activations"]["symmetric"]
    inputs = {name: FakeInput(plan["layers"][name]["input_range"], learned=learned, symmetric=symmetric) for name in names}
    for name, first in shared_inputs(model, names, example).items():
        layer = twin.get_submodule(name)
        layer.add_module("fake_input", inputs[first])
        on_input(layer, round_input)
        weight = cast("Tensor", layer.weight)
        parametrize.register_parametrization(layer, "weight", FakeWeight(weight, plan["layers"][name], learned=learned))
    return twin


def converted(trained: nn.Module, model: nn.Module) -> nn.Module:
    """A plain copy of `model` with the trained weights, clipped: rounded by the plan they are what training computed with."""
    plain = copy.deepcopy(model).eval()
    state, expected = trained.state_dict(), plain.state_dict()
    frozen = tuple(f"{name}." for name in recurrent_layers(model))
    kept = {name: value for name, value in state.items() if name in expected and not name.startswith(frozen)}
    clipped = {f"{name}.weight": fake.clipped(state[f"{name}.{ORIGINAL}"]) for name, fake in _fake_weights(trained).items()}
    plain.load_state_dict(expected | kept | clipped, strict=True)
    return plain


def learned_plan(trained: nn.Module, plan: Plan) -> Plan:
    """The plan with the input ranges that a `prepared` model has learned."""
    layers = dict(plan["layers"])
    for name in weighted_of_kind(plan, "static"):
        fake_input = cast("FakeInput", trained.get_submodule(name).fake_input)
        layers[name] = layers[name] | {"input_range": list(fake_input.input_range())}
    return plan | {"layers": layers}


def shared_inputs(model: nn.Module, layers: tuple[str, ...], example: Batch) -> dict[str, str]:
    """Layer -> the first of `layers` that reads the very same values (a reshaped view of a tensor is that tensor)."""
    twin = copy.deepcopy(model).eval()
    seen: dict[tuple[int, ...], str] = {}
    first: dict[str, str] = {}
    alive: list[Tensor] = []  # so that no memory is given to a second tensor

    def note(name: str, _: nn.Module, x: Tensor) -> None:
        alive.append(x)
        place = (x.untyped_storage().data_ptr(), int(x.storage_offset()), x.numel(), x._version)
        first.setdefault(name, seen.setdefault(place, name))

    for name in layers:
        on_input(twin.get_submodule(name), partial(note, name))
    with torch.no_grad():
        twin(**clone(example))
    return {name: first.get(name, name) for name in layers}


def _with_frozen_recurrent(model: nn.Module, plan: Plan) -> nn.Module:
    entries = {name: plan["layers"][name] for name in recurrent_layers(model)}
    twin = simulate(model, plan | {"layers": entries})
    frozen = tuple(f"{name}." for name in entries)
    for name, parameter in twin.named_parameters():
        parameter.requires_grad_(not name.startswith(frozen))
    return twin


def _started(model: nn.Module, config: QatParams, statistics: Records, data: MethodData) -> Quantized:
    folded = fold_batchnorm(model, data.example)
    settings = config.model_dump(include=CalibratedParams.model_fields.keys() - {"method"})
    start = static(folded, StaticParams(method="static", **settings), statistics=statistics, data=data)
    return dataclasses.replace(start, plan=start.plan | {"method": "qat"}, notes=start.notes or (FOLDED,))


def _refuse_shared_weights(start: Quantized) -> None:
    planned = {f"{name}.weight" for name in weighted_of_kind(start.plan, "static")}
    shared = shared_weights(start.model)
    if tied := [name for name in shared if name in planned]:
        name = tied[-1]
        raise Impossible(f"quantize: qat cannot train {name!r}, which is one weight with {shared[name]!r}; put both layers in keep_float")


def _masks(start: Quantized) -> dict[str, Tensor]:
    planned = set(weighted_of_kind(start.plan, "static"))
    masks = {name.removesuffix(".weight"): mask for name, mask in zero_masks(start.model).items()}
    return {f"{name}.{ORIGINAL if name in planned else 'weight'}": mask for name, mask in masks.items()}


def _ranges(student: nn.Module) -> frozenset[str]:
    """The names of the parameters of every fake quantization."""
    fakes = [(name, module) for name, module in student.named_modules() if isinstance(module, FakeInput | FakeWeight)]
    return frozenset(f"{name}.{inner}" for name, module in fakes for inner, _ in module.named_parameters())


@contextmanager
def _guided(data: MethodData, teacher: nn.Module, config: QatParams) -> Iterator[tuple[MethodData, Loss | None]]:
    """(1 - weight) * loss + weight * guidance of the source at T = 1; None is the objective's own loss (Hinton et al. 2015)."""
    weight, objective = config.teacher_weight, data.objective
    if weight == 0:
        yield data, None
        return
    with taught(data, teacher, config) as (given, ask):

        def guided(outputs: Tensors, batch: Samples) -> Tensor:
            return (1 - weight) * objective.loss(outputs, batch.targets) + weight * objective.guidance(outputs, ask(batch), 1.0)

        yield given, guided


def _fake_weights(trained: nn.Module) -> Mapping[str, FakeWeight]:
    found = {name: getattr(layer, "parametrizations", None) for name, layer in trained.named_modules()}
    return {name: cast("FakeWeight", parts.weight[0]) for name, parts in found.items() if parts is not None}
