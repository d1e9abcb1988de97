"""Methods of one's own: `method: methods/file.py:function`, its config class beside it, found by the function's annotation of `config`.

The file is the user's own code, as a workload's is: params.yaml alone names it, an artifact never does. It is imported where params.yaml is
read; whatever it raises is told as theirs, in one line.
"""

import functools
import inspect
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from slimline.errors import MethodError
from slimline.foreign import module_of_file, their_call
from slimline.params.explained import explained
from slimline.params.section import EditParams, VariantParams
from slimline.params.student import StudentTraining

READ = ("idle", "asked")
"""What the stages ask of a config."""
FOLDER = "methods"
"""Where they lie: dvc.yaml watches this folder, so that a changed file makes its variants anew."""
GROUND: Mapping[str, type[VariantParams]] = {
    "prune": EditParams,
    "factorize": EditParams,
    "quantize": VariantParams,
    "distill": StudentTraining,
}
"""Stage -> the class that a config for it is made from."""


def own_code(name: str, doing: str) -> their_call:
    """Around a call of their code: whatever it raises is a MethodError."""
    return their_call(MethodError, f"method {name!r}: {doing}")


def is_own(method: object) -> bool:
    """Whether a method is written as a place in a file."""
    return isinstance(method, str) and ".py:" in method


def own_function(method: str, root: Path = Path()) -> Any:
    """The function that `methods/file.py:function` names.

    Raises:
        MethodError: there is no such file or function, or the file does not import; one line.
    """
    path, _, name = method.rpartition(":")
    if Path(path).parts[:1] != (FOLDER,) or ".." in Path(path).parts:
        raise MethodError(f"method {method!r}: lies outside {FOLDER}/, the folder that DVC watches; move it there")
    if not (root / path).is_file():
        raise MethodError(f"method {method!r}: no file {path!r}; the path is relative to the project folder")
    with own_code(method, "importing it"):
        module = own_module((root / path).resolve())
    function = getattr(module, name, None)
    if not callable(function) or isinstance(function, type):
        raise MethodError(f"method {method!r}: {path} has no function {name!r}; write {FOLDER}/file.py:function")
    return function


def own_config(method: str, root: Path = Path()) -> type[VariantParams]:
    """The config class of a method of one's own.

    Raises:
        MethodError: as `own_function`, or its parameter `config` is not annotated by a class of params.
    """
    found = config_of(own_function(method, root))
    if found is None:
        raise MethodError(f"method {method!r}: annotate its parameter `config` by your config class, made from EditParams or VariantParams")
    return found


def own_config_for(section: str, method: str, root: Path) -> type[VariantParams]:
    """The config class of a method of one's own, as a section of params.yaml takes it.

    Raises:
        MethodError: as `own_config`, or it is made for another section.
    """
    kind = own_config(method, root)
    if not issubclass(kind, GROUND[section]):
        raise MethodError(f"{kind.__name__} is no config for {section}; make it from {GROUND[section].__name__}")
    return kind


def config_of(function: Any) -> type[VariantParams] | None:
    """The class that a function's parameter `config` is annotated by; None where that is none of ours."""
    with own_code(getattr(function, "__name__", "?"), "reading its annotations"):
        parameter = inspect.signature(function, eval_str=True).parameters.get("config")
    found = None if parameter is None else parameter.annotation
    return found if isinstance(found, type) and issubclass(found, VariantParams) else None


def with_own_configs(raw: Mapping[str, Any], origin: str, root: Path) -> tuple[dict[str, Any], list[str]]:
    """params.yaml's content with every entry of a method of one's own made its config; and what is wrong with such entries."""
    content, problems = dict(raw), list[str]()
    for section in GROUND:
        entries = content.get(section)
        if isinstance(entries, Mapping):
            content[section] = made = dict(entries)
            for name, entry in entries.items():
                if isinstance(entry, Mapping) and is_own(entry.get("method")):
                    found = _built(section, f"{origin}: {section}.{name}", entry, root)
                    made[name] = found.config
                    problems += found.problems
    return content, problems


@dataclass(frozen=True)
class _Built:
    config: VariantParams
    problems: tuple[str, ...] = ()


def _built(section: str, where: str, entry: Mapping[str, Any], root: Path) -> _Built:
    """The entry as its own config; where that is wrong, a plain stand-in that the rest of params.yaml is checked with."""
    stand_in = GROUND[section].model_construct(source=str(entry.get("source")), method=str(entry["method"]))
    try:
        kind = own_config_for(section, str(entry["method"]), root)
        try:
            return _Built(checked_entry(kind, entry))
        except ValidationError as error:
            return _Built(stand_in, tuple(explained(error, where, kind, {})))
    except MethodError as error:
        return _Built(stand_in, (f"{where}: {error}",))


def checked_entry(kind: type[VariantParams], entry: Mapping[str, Any]) -> VariantParams:
    """An entry as its config, whoever wrote that, which says what the stages ask of it.

    Raises:
        ValidationError: the entry does not fit.
        MethodError: the config's own code raised something else.
    """
    found: VariantParams | ValidationError
    with own_code(str(entry["method"]), f"making a {kind.__name__}"):
        try:
            found = kind.model_validate(dict(entry))
        except ValidationError as error:
            found = error
    if isinstance(found, ValidationError):
        raise found
    for name in (name for name in READ if hasattr(kind, name)):
        with own_code(str(entry["method"]), f"{kind.__name__}.{name}"):
            getattr(found, name)
    return found


@functools.cache
def own_module(path: Path) -> Any:
    """A Python file as a module, imported once."""
    return module_of_file(path, f"slimline_method_{abs(hash(path))}")


def own_methods(path: Path) -> Iterator[tuple[str, type[VariantParams]]]:
    """(function, config class) of every method in a file: functions of its own whose parameter `config` is one of our configs.

    Raises:
        MethodError: the file does not import.
    """
    with own_code(path.name, "importing it"):
        module = own_module(path.resolve())
    for name, function in vars(module).items():
        if inspect.isfunction(function) and function.__module__ == module.__name__ and (kind := config_of(function)) is not None:
            yield name, kind
