"""Which layer of a student is compared with which of its teacher: named ones, entries of their lists of layers, or those as deep."""

from typing import Any

from torch import Tensor, nn
from torch.nn.modules.conv import _ConvNd
from torch.utils._pytree import tree_leaves

from slimline.artifact.stand_ins import Skip
from slimline.data.batch import Batch
from slimline.errors import Impossible, InputError
from slimline.methods.distill.features import channels_last, shapes_of
from slimline.methods.layer_calls import run_hooked
from slimline.params.distill_features import DeepTraining, FeatureTraining

WORKING = (nn.Linear, _ConvNd, nn.RNNBase, nn.MultiheadAttention, nn.Embedding)
"""What makes a net deep: each that ran is a step down."""
VECTORS = 2
"""Dimensions of features that have no places."""
NONE = "no features"
KINDS = {2: "vectors", 3: "sequences", 4: "feature maps", 5: "feature volumes"}
"""What features are called, by how many dimensions they have."""
TRAINED_ROUNDING = ("parametrizations", "fake_input")
"""Parts of the names of what a quantized student has beside its own layers."""


def named_pairs(student: nn.Module, teacher: nn.Module, config: FeatureTraining, example: Batch) -> list[tuple[str, str]]:
    """The layers that the config names.

    Raises:
        InputError: one of them names no module, or one that gives no features.
    """
    for key, model, names in (("student_layers", student, config.student_layers), ("teacher_layers", teacher, config.teacher_layers)):
        if unknown := sorted(set(names) - {name for name, _ in model.named_modules()}):
            raise InputError(f"distill: {key}: {unknown[0]!r} names no module of the {key.partition('_')[0]}")
        shapes = shapes_of(model, names, example)
        if silent := [name for name in names if len(shapes.get(name, ())) < VECTORS]:
            raise InputError(f"distill: {key}: {silent[0]!r} gives no features [N, …, width]; name a layer that does")
    return list(zip(config.student_layers, config.teacher_layers, strict=True))


def of_one_kind(
    student: nn.Module, teacher: nn.Module, pairs: list[tuple[str, str]], example: Batch, *, least: int = VECTORS
) -> list[tuple[str, str]]:
    """These pairs of layers, all of which give features of as many dimensions, `least` or more.

    Raises:
        InputError: those of one have fewer, or of both not as many.
    """
    own, theirs = (shapes_of(model, names, example) for model, names in zip((student, teacher), zip(*pairs, strict=True), strict=True))
    for first, second in pairs:
        sizes = len(own.get(first, ())), len(theirs.get(second, ()))
        if sizes[0] != sizes[1] or sizes[0] < least:
            given = f"{first!r} of the student gives {KINDS.get(sizes[0], NONE)}, {second!r} of the teacher {KINDS.get(sizes[1], NONE)}"
            asked = "two of one kind" + (", with places" if least > VECTORS else "")
            raise InputError(f"distill: student_layers, teacher_layers: {given}; name {asked}")
    return pairs


def longest_list(model: nn.Module) -> list[str]:
    """The names of the entries of a model's longest list of modules, without those that were dropped.

    Raises:
        StageError: it has none.
    """
    lists = {name: layers for name, layers in model.named_modules() if isinstance(layers, nn.ModuleList) and len(layers)}
    if not lists:
        raise Impossible("distill: the model has no list of layers; name student_layers and teacher_layers, or take hints")
    name = max(lists, key=lambda name: len(lists[name]))
    return [f"{name}.{place}" for place, layer in enumerate(lists[name]) if not isinstance(layer, Skip)]


def pairs_of(student: nn.Module, teacher: nn.Module, config: FeatureTraining, example: Batch) -> list[tuple[str, str]]:
    """The named layers, else every entry of the student's longest list with one of the teacher's, at even distances.

    Raises:
        InputError: student_layers or teacher_layers names no module, or layers of unlike kinds.
        StageError: none are named, and one of the models has no list of layers.
    """
    if config.student_layers:
        return of_one_kind(student, teacher, named_pairs(student, teacher, config, example), example)
    own, theirs = longest_list(student), longest_list(teacher)
    pairs = [(name, theirs[(place + 1) * len(theirs) // len(own) - 1]) for place, name in enumerate(own)]
    return of_one_kind(student, teacher, pairs, example)


def deep_pairs(student: nn.Module, teacher: nn.Module, config: DeepTraining, example: Batch, *, least: int = 2) -> list[tuple[str, str]]:
    """The named layers, else `config.pairs` of the student's at even depths, each with the teacher's nearest in depth of the same kind.

    Of feature maps one of the same size is preferred. `least` is how many dimensions features must have.

    Raises:
        InputError: student_layers or teacher_layers names no module.
        StageError: no layers of the same kind lie inside both models.
    """
    if config.student_layers:
        return of_one_kind(student, teacher, named_pairs(student, teacher, config, example), example, least=least)
    theirs = [point for point in points(teacher, example).items() if len(point[1][1]) >= least]
    own = [(name, near) for name, point in points(student, example).items() if (near := _nearest(point, theirs))]
    if not own:
        kinds = "feature maps or sequences" if least > 2 else "features of the same kind"
        raise Impossible(f"distill: {config.method}: no layers inside both models give {kinds}; name student_layers and teacher_layers")
    places = dict.fromkeys(-(-(place + 1) * len(own) // config.pairs) - 1 for place in range(config.pairs))
    return [own[place] for place in places]


def deepest_pair(student: nn.Module, teacher: nn.Module, config: FeatureTraining, example: Batch) -> list[tuple[str, str]]:
    """The named layers, else the last one of each model that gives features before its output.

    Raises:
        InputError: student_layers or teacher_layers names no module.
        StageError: a model has no layer before its output.
    """
    if config.student_layers:
        return named_pairs(student, teacher, config, example)
    own, theirs = (list(points(model, example)) for model in (student, teacher))
    if not own or not theirs:
        raise Impossible(f"distill: {config.method}: a model has no layer before its output; name student_layers and teacher_layers")
    return [(own[-1], theirs[-1])]


def points(model: nn.Module, example: Batch) -> dict[str, tuple[float, tuple[int, ...]]]:
    """The modules behind each step down but those that give an output: name -> how deep it lies (0 to 1), and the shape of its features.

    Of several that end at the same depth (a convolution, its norm, the block around them) the last one to end.
    """
    ended: dict[int, tuple[str, Tensor, tuple[int, ...]]] = {}
    steps, outputs = [0], set[int]()

    def hook_of(name: str) -> Any:
        def hook(module: nn.Module, _given: tuple[Any, ...], output: Any) -> None:
            steps[0] += isinstance(module, WORKING)
            if isinstance(output, tuple) and output:
                output = output[0]
            if isinstance(output, Tensor) and output.is_floating_point() and output.dim() > 1 and steps[0]:
                ended[steps[0]] = (name, output, tuple(channels_last(output, module).shape))

        return hook

    def note_outputs(_module: nn.Module, _given: tuple[Any, ...], given: Any) -> None:
        outputs.update(_memory(leaf) for leaf in tree_leaves(given) if isinstance(leaf, Tensor))

    own = [(name, module) for name, module in model.named_modules() if name and not any(part in name for part in TRAINED_ROUNDING)]
    was_training = model.training
    handles = [model.register_forward_hook(note_outputs), *(module.register_forward_hook(hook_of(name)) for name, module in own)]
    run_hooked(model.eval(), example, handles)
    model.train(was_training)
    whole = steps[0]
    inside = ((step, name, shape) for step, (name, given, shape) in ended.items() if step < whole and _memory(given) not in outputs)
    return {name: (step / whole, shape) for step, name, shape in inside}


def _memory(value: Tensor) -> int:
    """Where a tensor lies: a view lies where what it is of does."""
    return value.untyped_storage().data_ptr()


def _nearest(point: tuple[float, tuple[int, ...]], others: list[tuple[str, tuple[float, tuple[int, ...]]]]) -> str:
    """The one of the same number of dimensions, of as many places before others, that lies nearest in depth; empty where there is none."""
    depth, shape = point
    same = [(name, other) for name, other in others if len(other[1]) == len(shape)]
    return min(same, key=lambda entry: (entry[1][1][1:-1] != shape[1:-1], abs(entry[1][0] - depth)))[0] if same else ""
