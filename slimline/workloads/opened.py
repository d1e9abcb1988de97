"""A workload without code, as the stages after `data` have it: made of what its door learned, and of the net that params.yaml names."""

import copy
import importlib
import importlib.util
import inspect
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from slimline.data.windows import Windows
from slimline.errors import WorkloadError
from slimline.params import DataParams, ModelParams, Params
from slimline.workloads.border import theirs
from slimline.workloads.huggingface.directory import is_directory, located
from slimline.workloads.known import DOORS, LANGUAGE

if TYPE_CHECKING:
    from torch import Generator, nn

    from slimline.data.batch import Batch
    from slimline.data.columns import Rows
    from slimline.data.table import Source, Table
    from slimline.workloads.facts import Facts

ARCHITECTURES = {
    "residual": "slimline.workloads.nets:residual",
    "perceptron": "slimline.workloads.nets:perceptron",
    "convolutional": "slimline.workloads.nets:convolutional",
}
"""The bundled architectures of workloads without code."""
DEPTHS = ("num_hidden_layers", "n_layers", "n_layer")
"""What a config calls the number of its layers."""
FEW_LAYERS, LARGE = 4, 20_000_000
"""Of a net of more parameters, so many layers stand for all."""
DEFAULTS = {"images": "residual", "table": "perceptron", "text": "convolutional"}


class Door(Protocol):
    """How a folder or file becomes a workload."""

    def splits(self, seed: int) -> "Mapping[str, Source]":
        """Samples by split name."""

    def facts(self, train: "Table") -> "Facts":
        """What is learned of them from the training split, once it stands."""


def door_of(name: str, options: DataParams, model: ModelParams) -> Door | None:
    """The door of a workload without code; None of any other. Texts without a target are those of an encoder."""
    if name not in DOORS:
        return None
    if name == "text" and options.target is None and is_directory(model.architecture):
        from slimline.workloads.huggingface.encoder import EncoderDoor

        return EncoderDoor(options, model)
    module, _, attribute = DOORS[name].partition(":")
    made = getattr(importlib.import_module(module), attribute)
    found: Door = made(options, model) if name == LANGUAGE else made(options)
    return found


def facts_of(door: Door, train: "Table", params: Params) -> "Facts":
    """What is learned of the training split, and of the Hugging Face directory that the net comes from.

    Raises:
        InputError: the directory is refused, or does not go with the data.
    """
    facts = door.facts(train)
    if facts.net is not None or not is_directory(params.model.architecture):
        return facts
    from slimline.workloads.huggingface.facts import with_net

    return with_net(facts, params.workload, params.data, params.model, train)


def opened(name: str, root: Path = Path(), prepared: Path | None = None) -> "Opened":
    """A workload without code, in a project whose stage `data` has run.

    Raises:
        WorkloadError: it has not run.
    """
    from slimline.data.prepared import PREPARED
    from slimline.workloads.facts import read_facts

    facts = read_facts(prepared or root / PREPARED)
    if facts is None:
        raise WorkloadError(
            f"workload: {name} is made of its data, which is not prepared here; run the stage `data` first (dvc repro data)"
        )
    return Opened(name, facts, Params.load(root / "params.yaml").model, root)


class Opened:
    """Implements slimline.workloads.Workload from facts alone."""

    def __init__(self, name: str, facts: "Facts", model: ModelParams, root: Path) -> None:
        from slimline.objectives.described import objective_of

        self.name, self.preprocessing, self._model, self._root = name, facts.preprocessing, model, root
        self.objective, self._outputs, self.net, self.carried = objective_of(facts.objective), facts.outputs, facts.net, facts.carried
        self.allows_missing = self.allows_equal = name in ("table", "text")

    def splits(self, options: Mapping[str, Any], seed: int) -> "Mapping[str, Source]":
        """The door gives them; this is what comes after it."""
        door = door_of(self.name, DataParams.model_validate(options), self._model)
        assert door is not None
        return door.splits(seed)

    def inputs(self, rows: "Rows") -> "Batch":
        """What the preprocessing makes of some rows."""
        import torch

        return {name: torch.from_numpy(values) for name, values in self.preprocessing(rows).items()}

    def targets(self, rows: "Rows") -> Any:
        """The column `label`: class indices, or numbers as float32; of windows, the tokens that follow."""
        import torch

        if isinstance(self.preprocessing, Windows):
            return {name: torch.from_numpy(values) for name, values in self.preprocessing.targets(rows).items()}
        values = torch.as_tensor(rows["label"])
        return values.float() if values.is_floating_point() else values

    def shallow(self) -> "Opened | None":
        """The same with a few of the layers of a large Hugging Face net; None where it has no more, or is small."""
        if self.net is None or (net := _shallow(self.net)) is None:
            return None
        found = copy.copy(self)
        found.net = net
        return found

    def build_teacher(self) -> "nn.Module":
        """The net that params.yaml names."""
        return self._build(self._model.architecture, self._model.config)

    def build_student(self, config: dict[str, Any]) -> "nn.Module":
        """The same architecture with other settings; `architecture` names another."""
        settings = dict(config)
        architecture = str(settings.pop("architecture", self._model.architecture))
        return self._build(architecture, (self._model.config if architecture == self._model.architecture else {}) | settings)

    def start_from_(self, net: "nn.Module") -> tuple[str, ...]:
        """Load what the teacher starts from, the weights of a Hugging Face directory, into the net; what was done, in sentences."""
        if self.net is None or not is_directory(self._model.architecture):
            return ()
        from slimline.workloads.huggingface.weights import start_from_

        return start_from_(net, self.net, located(self._model.architecture, self._root), getattr(self.objective, "labels", ()))

    @property
    def augment(self) -> "Callable[[Batch, Generator], Batch] | None":
        """Pictures turned, scaled and shifted a little; rows of a table and texts are trained on as they are."""
        return partial(_shaken, getattr(self.preprocessing, "input", "")) if self.name == "images" else None

    def _build(self, architecture: str, config: Mapping[str, Any]) -> "nn.Module":
        if is_directory(architecture) or self.name == LANGUAGE:
            return self._of_directory(architecture, config)
        builder = _builder(DEFAULTS[self.name] if architecture == "default" else architecture, self._root)
        known = {"preprocessing": self.preprocessing, "outputs": self._outputs, "config": dict(config)}
        with theirs(architecture, "building the net"):
            net: nn.Module = builder(**_asked_for(builder, architecture, known))
        return net

    def _of_directory(self, architecture: str, config: Mapping[str, Any]) -> "nn.Module":
        if self.net is None or architecture != self._model.architecture:
            why = "is not the directory that the stage `data` read" if self.net else "is not prepared here"
            raise WorkloadError(f"params.yaml: model.architecture: {architecture} {why}; run the stage `data` (dvc repro data)")
        from slimline.workloads.huggingface.net import built

        return built(self.net, config)


def _asked_for(builder: Callable[..., Any], architecture: str, known: Mapping[str, Any]) -> dict[str, Any]:
    """Of what is known, what a builder's parameters name: all of it, or nothing, as its author likes.

    Raises:
        WorkloadError: it needs something else, or is given a `config` that it does not take.
    """
    parameters = inspect.signature(builder).parameters.values()
    if any(one.kind is one.VAR_KEYWORD for one in parameters):
        return dict(known)
    given = {one.name: known[one.name] for one in parameters if one.name in known}
    needed = [one.name for one in parameters if one.name not in known and one.default is one.empty and one.kind is not one.VAR_POSITIONAL]
    if needed:
        raise WorkloadError(
            f"params.yaml: model.architecture: {architecture} needs {', '.join(needed)}; a builder is given what it names of "
            f"{', '.join(known)}; give the others a default"
        )
    if known["config"] and "config" not in given:
        raise WorkloadError(f"params.yaml: {architecture} takes no `config`, and is given {', '.join(known['config'])}; add the parameter")
    return given


def _shallow(net: Mapping[str, Any]) -> dict[str, Any] | None:
    from slimline.workloads.huggingface.net import body_of, parsed, sketched

    config = parsed(net["config"], {}, "facts.json: net").to_dict()
    depth = next((name for name in DEPTHS if isinstance(config.get(name), int) and config[name] > FEW_LAYERS), None)
    if depth is None or sum(value.numel() for value in body_of(sketched(net)).parameters()) < LARGE:
        return None
    changed = {depth: FEW_LAYERS, **({"layer_types": config["layer_types"][:FEW_LAYERS]} if config.get("layer_types") else {})}
    return {**net, "config": {**net["config"], **changed}}


def _shaken(pictures: str, batch: "Batch", generator: "Generator") -> "Batch":
    """The input of that name shaken."""
    from slimline.workloads.augmented import shaken

    return {name: shaken(values, generator) if name == pictures else values for name, values in batch.items()}


def _builder(architecture: str, root: Path) -> Callable[..., Any]:
    """The function that builds an architecture.

    Raises:
        WorkloadError: there is none of that name, or no such file.
    """
    if ".py:" not in architecture:
        if architecture not in ARCHITECTURES:
            known = ", ".join((*ARCHITECTURES, "hf:DIRECTORY"))
            raise WorkloadError(f"params.yaml: model.architecture: unknown {architecture!r}; known: {known}, or path/to/file.py:builder")
        module_name, _, function = ARCHITECTURES[architecture].partition(":")
        return getattr(importlib.import_module(module_name), function)  # type: ignore[no-any-return]
    file, _, function = architecture.rpartition(":")
    if not (root / file).is_file():
        raise WorkloadError(f"params.yaml: model.architecture: no file {file!r}; the path is relative to the project folder")
    with theirs(architecture, "importing it"):
        spec = importlib.util.spec_from_file_location(f"slimline_model_{Path(file).stem}", root / file)
        assert spec is not None
        assert spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        spec.loader.exec_module(module)
        found = getattr(module, function, None)
    if not callable(found):
        raise WorkloadError(f"params.yaml: model.architecture: {file} has no function {function!r}")
    return found  # type: ignore[no-any-return]
