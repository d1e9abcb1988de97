"""`python -m flows.bisect RUN_A RUN_B`: two nights made again with one side held fixed, until it is known where a change comes from.

Every run works in a clone of its own with the shared cache, on the variants that changed and what they stand on: stages that both nights
have in common cost nothing. Nothing is published, and the project is not touched.
"""

import os
import subprocess
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from prefect import flow
from prefect.task_runners import ThreadPoolTaskRunner
from pydantic import BaseModel, ConfigDict, Field

from flows import engine
from flows.bisected import Bisected
from flows.dag import read_dag
from flows.events import Noted, tell
from flows.frame import MAX_TASKS, ended
from flows.guard import guard
from flows.heal import heal_runs
from flows.line import run_in
from flows.one_run import Run
from flows.options import Options
from flows.trials import without_variants
from flows.workspace import State, run_workspace
from slimline.errors import InputError, SlimlineError
from slimline.nights.attribution import BOTH_A, BOTH_B, CODE, PARAMETERS, Cell, Moved, cells, finding, moves, parameter_differences
from slimline.nights.night import UNKNOWN, Night, night_of
from slimline.nights.trend import CODE_MAY_DIFFER, DIFFERS, differences
from slimline.params import TEACHER, Params, params_sha256
from slimline.params.overrides import flow as in_yaml
from slimline.params.yaml_file import parse_yaml

MOST_NAMED = 12
SWAPPED = (DIFFERS["code"], CODE_MAY_DIFFER, DIFFERS["parameters"], DIFFERS["data"])
Sides = Mapping[str, Night]


class BisectOptions(BaseModel):
    """The two runs, as `slimline history` names them, and how many stages run side by side."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    run_a: str = Field(description="The earlier run, or the beginning of its name.")
    run_b: str = Field(description="The later run.")
    jobs: int = Field(default=2, ge=1, le=64, description="How many stages run side by side.")


@flow(name="bisect", task_runner=ThreadPoolTaskRunner(max_workers=MAX_TASKS), persist_result=False)
def bisect(options: BisectOptions) -> Any:
    """Say where the changes between two runs come from."""
    return ended(lambda project: run_bisect(project, options))


def run_bisect(project: Path, options: BisectOptions) -> Bisected:
    """Find both nights, see what differs, make the runs that decide, and attribute every change.

    Raises:
        InputError: no such run, or one whose code or parameters cannot be had again.
    """
    began = time.monotonic()
    heal_runs(project)
    sides = dict(zip("AB", nights(project, options.run_a, options.run_b), strict=True))
    changed = tuple(moves(sides["A"], sides["B"]))
    differing = tuple(may_differ(sides))
    told = tuple(differences(sides["A"], sides["B"]))
    made: dict[Cell, Night | str] = {}
    texts = {}
    if changed and differing:
        refuse_lost(project, sides)
        texts = {name: params_of(project, side) for name, side in sides.items()}
        for cell in cells(code_differs=CODE in differing, parameters_differ=PARAMETERS in differing):
            tell(Noted(f"bisect: {cell.name}"))
            text = restricted(project, texts[cell.parameters], changed)
            made[cell] = replayed(project, sides[cell.code].fingerprints[CODE], text, f"bisect-{cell.code}{cell.parameters}", options.jobs)
    kept = () if data_came_back(sides, made) else (DIFFERS["data"],)
    fixed = tuple(line for line in told if not line.startswith(SWAPPED) or line.startswith(kept))
    return Bisected(
        run_a=sides["A"].identity,
        run_b=sides["B"].identity,
        differs=(*told, *_named(project, sides, texts)),
        fixed=fixed,
        made=tuple(made),
        failed={cell.name: reason for cell, reason in made.items() if isinstance(reason, str)},
        findings=tuple(finding(one, made, fixed, differing) for one in changed),
        seconds=time.monotonic() - began,
    )


def nights(project: Path, *given: str) -> list[Night]:
    """The nights of these names.

    Raises:
        InputError: the store has none, or several, of a name, or they are of two workloads.
    """
    from slimline.storage.nights import night_named
    from slimline.storage.server import opened_store

    with guard().store(project), opened_store(project, Params.load(project / "params.yaml").publish) as store:
        found = [night_named(store, name) for name in given]
    if len({night.workload for night in found}) > 1:
        raise InputError(f"bisect: {' and '.join(given)} are runs of {' and '.join(night.workload for night in found)}; give two of one")
    return found


def may_differ(sides: Sides) -> Iterator[str]:
    """Which of code and parameters differ between the two, or cannot be known to be equal."""
    earlier, later = sides.values()
    if earlier.fingerprints[CODE] != later.fingerprints[CODE] or not later.is_code_known:
        yield CODE
    if earlier.fingerprints[PARAMETERS] != later.fingerprints[PARAMETERS]:
        yield PARAMETERS


def refuse_lost(project: Path, sides: Sides) -> None:
    """Refuse what git cannot give again.

    Raises:
        InputError: a run had what was not committed, or its commit is not here.
    """
    for night in sides.values():
        if why := why_lost(project, night.fingerprints[CODE]):
            raise InputError(f"bisect: {night.identity} {why}: its code cannot be had again; runs in a clone (--isolated, nightly) can")


def why_lost(project: Path, code: str) -> str:
    """Why git cannot give this code again; empty where it can."""
    if code == UNKNOWN:
        return "is of no commit"
    if "+" in code:
        return "had changes that were not committed, or files that git did not know"
    found = _git(project, "rev-parse", "--verify", "-q", "--end-of-options", f"{code}^{{commit}}")
    return "" if found else f"is of commit {code[:12]}, which git has not here"


def params_of(project: Path, night: Night) -> str:
    """The text of a night's params.yaml: the night's own, or its commit's where that is the same.

    Raises:
        InputError: neither has it.
    """
    if night.params:
        return night.params
    text = _git(project, "show", f"{night.fingerprints[CODE]}:{night.params_file}")
    at = project / ".dvc/tmp" / f"params-{os.getpid()}.yaml"
    at.write_text(text, encoding="utf-8")
    same = params_sha256(at) == night.fingerprints[PARAMETERS]
    at.unlink()
    if not same:
        raise InputError(f"bisect: {night.identity} did not keep its parameters, and its commit has others; only later runs keep them")
    return text


def restricted(project: Path, text: str, changed: Sequence[Moved]) -> str:
    """params.yaml with the variants that changed, what they start from, and the targets they changed on."""
    raw = parse_yaml(text, "params.yaml")
    params = Params.parse(raw, root=project)
    targets = [target for target in params.deploy.targets if target in {one.pair[1] for one in changed}]
    variants = [one for one in params.deploy.variants if one in {TEACHER, *(moved.pair[0] for moved in changed)}]
    content = without_variants(raw, params, [one for one in variants if one != TEACHER], targets)
    content["deploy"] = {**content["deploy"], "variants": variants}
    for section in ("cache", "harness"):
        content[section] = {}
    return "".join(f"{key}: {in_yaml(value)}\n" for key, value in content.items())


def replayed(project: Path, commit: str, text: str, name: str, jobs: int) -> Night | str:
    """The run of a commit with these parameters, in a clone; why there is none where it could not be made."""
    try:
        cache, options, params = (
            read_dag(project).cache,
            Options(publish=False, jobs=jobs),
            Params.parse(parse_yaml(text, "params.yaml"), root=project),
        )
        with run_workspace(project, f"{name}-{os.getpid()}", cache, {}, carry=False, state=State(commit, text)) as workspace:
            outcome = run_in(Run(project, workspace.folder, options, params, time.monotonic()))
            if engine.STOPPING.is_set():
                raise SlimlineError("bisect: stopped; what was made is kept, the next call goes on from here")
            return outcome.message if outcome.summary is None or outcome.failures else night_of(outcome.summary, workspace.folder)
    except InputError as error:
        return str(error).splitlines()[0]


def data_came_back(sides: Sides, made: Mapping[Cell, Night | str]) -> bool:
    """Whether code and parameters brought back the data of both runs; if not, the files that they are read from may be others."""
    again = {"A": made.get(BOTH_A), "B": made.get(BOTH_B)}
    return all(isinstance(one, Night) and one.fingerprints["data"] == sides[name].fingerprints["data"] for name, one in again.items())


def _named(project: Path, sides: Sides, texts: Mapping[str, str]) -> Iterator[str]:
    """The files and values that differ, by name."""
    if not texts:
        return
    files = _git(project, "diff", "--name-only", *(side.fingerprints[CODE] for side in sides.values())).splitlines()
    values = list(parameter_differences(*(parse_yaml(text, "params.yaml") for text in texts.values())))
    for what, found in (("file", files), ("parameter", values)):
        yield from (f"{what} {one}" for one in found[:MOST_NAMED])
        if len(found) > MOST_NAMED:
            yield f"{what}: {len(found) - MOST_NAMED} more"


def _git(project: Path, *arguments: str) -> str:
    return subprocess.run(["git", *arguments], cwd=project, capture_output=True, text=True, check=False).stdout


if __name__ == "__main__":
    from flows.command import bisect_main

    bisect_main(bisect, lambda run_a, run_b, jobs: BisectOptions(run_a=run_a, run_b=run_b, jobs=jobs))
