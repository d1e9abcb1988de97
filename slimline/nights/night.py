"""One run of the line as it is remembered: its figures with their intervals, and by what it can be told from other runs."""

import functools
import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from slimline.errors import ArtifactError
from slimline.params.files import USUAL
from slimline.params.yaml_file import read_yaml, yaml_text

LOCK, PREPARED = "dvc.lock", "data"
UNKNOWN = "unknown"


class Figure(BaseModel):
    """A value, and its 95 % interval where it has one; `better` is empty where neither way is."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    value: float
    ci: tuple[float, float] | None = None
    better: Literal["higher", "lower", ""] = ""


class Row(BaseModel):
    """A variant on a target: the gate's verdict and its figures by name (the objective's metrics, drop, size_bytes, speed_ratio …).

    `release` is the identity of the files, from their content: what their release is called, or would be; empty where none were made.
    """

    model_config = ConfigDict(frozen=True, extra="forbid")

    variant: str
    target: str
    verdict: str
    figures: dict[str, Figure] = Field(default_factory=dict)
    release: str = ""

    @property
    def pair(self) -> tuple[str, str]:
        """Variant and target."""
        return self.variant, self.target


class Night(BaseModel):
    """A run: `at` is its start (ISO 8601, UTC); `fingerprints` are what it was made of, `libraries` their versions.

    `params` is the text of params.yaml as the run had it, `params_file` the file that it was taken from: runs of one file are one history.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", populate_by_name=True)

    schema_version: Literal[1] = Field(default=1, alias="schema")
    at: str = Field(pattern=r"^[0-9T:.+Z-]{1,40}$")
    workload: str
    seconds: float
    fingerprints: dict[str, str]
    libraries: dict[str, str]
    rows: tuple[Row, ...]
    params_file: str = USUAL
    params: str = ""

    @property
    def is_code_known(self) -> bool:
        """Whether the same fingerprint means the same code: not without git, and not of changes that nobody took the checksum of."""
        code = self.fingerprints.get("code", UNKNOWN)
        return code != UNKNOWN and not code.endswith("+")

    @functools.cached_property
    def identity(self) -> str:
        """What it is called: when it began, and 8 digits of its content."""
        return f"{self.at[:19].replace(':', '')}-{hashlib.sha256(self.as_json()).hexdigest()[:8]}"

    def repeats(self, other: "Night") -> bool:
        """Whether it is of the same makings and came to the same, to the last digit of its clocks: results that were not made again."""
        own, others = (night.model_dump(exclude={"at", "seconds"}) for night in (self, other))
        return own == others

    def as_json(self) -> bytes:
        """The file's bytes; an old night, which kept no params and no releases, has those that it had."""
        unsaid: dict[str, Any] = {
            name: True for name in ("params_file", "params") if getattr(self, name) == type(self).model_fields[name].default
        }
        unsaid["rows"] = {number: {"release"} for number, row in enumerate(self.rows) if not row.release}
        return (self.model_dump_json(by_alias=True, indent=1, exclude=unsaid) + "\n").encode()


def night_of(summary: Mapping[str, Any], root: Path, params_file: str = USUAL) -> Night:
    """What reports/summary.json of a project says, with the fingerprints of the project's code, data and parameters.

    The code is the commit, and where the working tree differs from it `+` and the checksum of what differs; the data are what dvc.lock says
    of the prepared splits.

    Raises:
        ArtifactError: it lacks what the summary of a whole run has.
    """
    try:
        return _night(summary, root, params_file)
    except (KeyError, TypeError) as error:
        raise ArtifactError(f"reports/summary.json: lacks {error}; make it again: dvc repro --force --single-item report") from None


def _night(summary: Mapping[str, Any], root: Path, params_file: str) -> Night:
    run, machine = summary["run"], summary["run"]["machine"]
    fingerprints = {
        "code": f"{run['git'] or UNKNOWN}{_changes(run)}",
        "data": _data(root),
        "parameters": run["params_sha256"],
        "machine": f"{machine['cpu']}, {machine['cores']} cores, {' '.join(machine['isa'])}",
    }
    rows = tuple(_row(row) for row in summary["variants"])
    return Night(
        at=run["started"],
        workload=summary["workload"],
        seconds=run["seconds"],
        fingerprints=fingerprints,
        libraries=machine["versions"],
        rows=rows,
        params_file=params_file,
        params=yaml_text(root / USUAL),
    )


def _changes(run: Mapping[str, Any]) -> str:
    return f"+{run.get('git_changes') or ''}" if run["git_dirty"] else ""


def parse_night(body: bytes) -> Night | None:
    """A stored night; None of what is none."""
    try:
        return Night.model_validate_json(body)
    except ValidationError:
        return None


def _row(row: Mapping[str, Any]) -> Row:
    figures = {name: Figure(value=one["value"], ci=one["ci"], better=one["better"]) for name, one in row["quality"].items()}
    if row["drop"] is not None:
        figures["drop"] = Figure(value=row["drop"]["value"], ci=row["drop"]["ci"], better="lower")
    if row["size_bytes"] is not None:
        figures["size_bytes"] = Figure(value=row["size_bytes"], better="lower")
    for batch, one in (row["speed_ratio"] or {}).items():
        figures[f"speed_ratio {batch}"] = Figure(value=one["value"], ci=one["ci"], better="higher")
    if row["peak_memory_bytes"] is not None:
        figures["peak_memory_bytes"] = Figure(value=row["peak_memory_bytes"], better="lower")
    return Row(
        variant=row["variant"],
        target=row["target"],
        verdict=row["verdict"],
        figures=figures,
        release=row.get("artifact", row.get("release")) or "",
    )


def _data(root: Path) -> str:
    """The checksum of the prepared splits, as dvc.lock has it."""
    path = root / LOCK
    stages = (read_yaml(path) or {}).get("stages", {}) if path.is_file() else {}
    outs = stages.get(PREPARED, {}).get("outs", [])
    return next((str(one["md5"]) for one in outs if one.get("path") == "data/prepared"), UNKNOWN)
