"""What the shell offers after TAB, from the params.yaml of the project around this folder; nothing where there is none."""

from collections.abc import Iterator
from typing import Any

from slimline.errors import SlimlineError
from slimline.params.yaml_file import read_yaml
from slimline.project import find_project

SECTIONS = ("prune", "quantize", "factorize", "distill")
OF_PAIRS = ("compile", "evaluate")
FIRST = ("data", "look", "teacher", "calibrate", "report")


def stages(incomplete: str) -> list[str]:
    """The names of the line's stages."""
    params = _params()
    deploy = _mapping(params.get("deploy"))
    names = [*FIRST, *(f"{section}@{name}" for section in SECTIONS for name in _mapping(params.get(section)))]
    names += [f"teach@{name}" for name in _mapping(params.get("teach"))]
    names += [f"time@{target}" for target in _listed(deploy.get("targets"))]
    names += [f"{stage}@{pair}" for stage in OF_PAIRS for pair in _pairs(deploy)]
    return [name for name in names if name.startswith(incomplete)]


def variants(incomplete: str) -> list[str]:
    """The names of the variants, the teacher's among them."""
    params = _params()
    names = ["teacher", *(name for section in SECTIONS for name in _mapping(params.get(section)))]
    return [name for name in names if name.startswith(incomplete)]


def _pairs(deploy: dict[str, Any]) -> Iterator[str]:
    yield from (f"{variant}-{target}" for variant in _listed(deploy.get("variants")) for target in _listed(deploy.get("targets")))


def _params() -> dict[str, Any]:
    try:
        return _mapping(read_yaml(find_project() / "params.yaml"))
    except (SlimlineError, OSError):
        return {}


def _mapping(value: object) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


def _listed(value: object) -> list[str]:
    return [str(one) for one in value] if isinstance(value, list) else []
