"""`slimline check`: every mistake in params.yaml at once, before anything runs."""

import json
import os
import re
import shutil
import sys
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Annotated, Any

import typer

from slimline.commands.advice import warnings
from slimline.commands.deep import problems_of, table, trials
from slimline.commands.preflight import preflight
from slimline.commands.refusals import refusals
from slimline.commands.run import ParamsFile
from slimline.errors import InputError, MachineError, ParamsError, WorkloadError
from slimline.generation.harness_tasks import read_tasks
from slimline.params import Params
from slimline.params.files import USUAL, located
from slimline.params.section import Section
from slimline.params.yaml_file import read_yaml
from slimline.project import find_project
from slimline.workloads import locate_workload
from slimline.workloads.huggingface import directory
from slimline.workloads.known import BUNDLED, DOORS, LANGUAGE

EXTRAS = {"executorch": ("executorch",), "openvino": ("openvino", "nncf"), "xla": ("jax", "torchax")}
"""Target -> the packages of the extra of its name in pyproject.toml."""
MADE_FOLDERS = (
    *(f"data/{name}" for name in ("prepared", "models", "calibration", "compiled", "evaluated", "rounds")),
    *(f"reports/{name}" for name in ("stages", "metrics")),
)
"""Where dvc.yaml's stages write."""
NAMED = re.compile(r"\$\{((?!item|key)[a-z_.]+)\}")
IN_S3 = re.compile(r"s3://[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]/[^\s]+")
PROGRAMS = {"inductor": {"g++": "apt-get install g++"}}
"""Target -> the programs that compiling for it calls, and how they are installed."""


def checked_params(root: Path, file: str = USUAL, *, elsewhere: bool = False) -> Params:
    """What a params file of the project says, with the workload located and the targets' packages at hand.

    Of a run that goes `elsewhere` it is not asked whether this machine has a GPU.

    Raises:
        ParamsError: with every problem.
    """
    problems: list[str] = []
    params = None
    try:
        params = Params.load(root / file, root)
    except ParamsError as error:
        problems += error.problems
    name = params.workload if params else _stated_workload(root / file)
    try:
        locate_workload(name, root)
    except WorkloadError as error:
        problems.append(str(error))
    problems += _lacking_for_targets(params) if params else ()
    problems += _lacking_device(params) if params and not elsewhere else ()
    problems += _unwritten(root, file) if params else ()
    problems += _lacking_data(params, root) if params else ()
    problems += _lacking_net(params, root) if params else ()
    problems += _nothing_generates(params) if params else ()
    problems += _lacking_tasks(params, root) if params else ()
    problems += _where_stages_write(params, root) if params else ()
    problems += refusals(params, root) if params else ()
    if problems or params is None:
        raise ParamsError([re.sub(rf"^{re.escape(USUAL)}:", f"{file}:", problem) for problem in problems])
    return params


def _lacking_data(params: Params, root: Path) -> Iterator[str]:
    """A workload without code reads what `data.path` names; whether it can be learned from is the stage data's to say."""
    path = params.data.path
    if path.startswith("s3://"):
        if params.workload not in DOORS:
            yield f"params.yaml: data.path: {path} is read by workloads without code alone ({', '.join(DOORS)}); give a folder of your own"
        elif not IN_S3.fullmatch(path):
            yield f"params.yaml: data.path: {path} is no address in S3; write s3://BUCKET/PREFIX"
    elif params.workload in DOORS and not (root / path).exists():
        yield f"params.yaml: data.path: no file or folder {path!r}, which workload: {params.workload} reads"


def _lacking_device(params: Params) -> Iterator[str]:
    """`device: cuda` where torch has no GPU; torch is imported, which takes seconds, only where that is asked for."""
    if asked := [place for place, section in sections(params) if getattr(section, "device", "auto") == "cuda"]:
        from slimline.training.device import why_no_gpu

        if reason := why_no_gpu():
            yield from (f"params.yaml: {place}.device: cuda: {reason}; give auto or cpu, or slimline send" for place in asked)


def sections(part: Section | dict[str, Any], place: str = "") -> Iterator[tuple[str, Section]]:
    """Every section with its place in params.yaml, those within others too."""
    for name, value in dict(part).items():
        if isinstance(value, Section):
            yield f"{place}{name}", value
        if isinstance(value, Section | dict):
            yield from sections(value, f"{place}{name}.")


def _lacking_net(params: Params, root: Path) -> Iterator[str]:
    """A Hugging Face directory is looked at without transformers; whether the net goes with the data is the stage data's to say."""
    is_directory = directory.is_directory(params.model.architecture) and params.workload in DOORS
    needed = directory.NEEDED if is_directory or params.workload == LANGUAGE else ()
    if missing := [name for name in needed if not _is_installed(name)]:
        asked = "model.architecture: hf:" if is_directory else f"workload: {LANGUAGE}"
        yield f"params.yaml: {asked} needs {', '.join(missing)}; pip install 'slimline[huggingface]'"
    if is_directory:
        yield from directory.problems(params.model.architecture, root)


def _nothing_generates(params: Params) -> Iterator[str]:
    """Caches and tasks are a language model's; of a workload of one's own the stages see what it is."""
    if params.workload != LANGUAGE and params.workload in (*BUNDLED, *DOORS):
        for section in (section for section in ("cache", "harness") if getattr(params, section)):
            yield (
                f"params.yaml: {section}: workload: {params.workload} generates nothing; "
                f"leave {section} out, or write `workload: {LANGUAGE}`"
            )


def _lacking_tasks(params: Params, root: Path) -> Iterator[str]:
    """Task files are read, and nothing of them is run."""
    if params.harness and not _is_installed("lm_eval"):
        yield "params.yaml: harness: needs lm_eval; pip install 'slimline[harness]'"
    for tasks in sorted({entry.tasks for entry in params.harness.values()}):
        try:
            read_tasks(root / tasks)
        except ParamsError as error:
            yield from error.problems


def _unwritten(root: Path, file: str) -> Iterator[str]:
    """DVC reads params.yaml as it is written and knows no defaults: what dvc.yaml names must stand there, if only as `{}`."""
    raw = read_yaml(root / file)
    named = sorted(_named_by_dvc(root / "dvc.yaml"))
    for key in (key for key in named if not any(other.startswith(f"{key}.") for other in named)):
        section, _, name = key.partition(".")
        if section not in raw or (name and name not in raw[section]):
            default = Params.model_fields[section].get_default(call_default_factory=True)
            value = getattr(default, name) if name else "{}" if isinstance(default, dict | Section) else default
            value = list(value) if isinstance(value, tuple) else value
            where = f"add `{name}: {value}` to {section}" if name else f"add `{section}: {value}`"
            yield f"params.yaml: {key}: missing; {where}: DVC reads it there and knows no defaults"


def _where_stages_write(params: Params, root: Path) -> Iterator[str]:
    """DVC removes what a stage makes before it runs; a teacher of one's own must not lie there."""
    for key, source in (("teacher.source", params.teacher.source), ("model.architecture", params.model.architecture)):
        kind, _, place = source.partition(":")
        for folder in MADE_FOLDERS if kind in ("file", "hf") else ():
            path, made = Path(os.path.normpath(root / place)), root / folder
            if path.is_relative_to(made) or path.resolve().is_relative_to(made.resolve()):
                yield (
                    f"params.yaml: {key}: {source} lies in {folder}, where stages make and DVC removes files; "
                    "move it elsewhere, say to weights/"
                )


def _named_by_dvc(path: Path) -> set[str]:
    """The keys below which dvc.yaml tracks or repeats: `params: [seed]`, `foreach: ${prune}`. A torn file is left to DVC to report."""
    try:
        content = read_yaml(path)
        stages = content["stages"].values()
        spared = {name for defaults in content.get("vars", ()) for name in defaults}
        repeated = {str(stage.get("foreach", "")).strip("${}") for stage in stages}
        repeated |= {str(values).strip("${}") for stage in stages for values in stage.get("matrix", {}).values()}
        tracked = {str(key) for stage in stages for key in stage.get("do", stage).get("params", ())}
        tracked |= {found for stage in stages for dep in stage.get("do", stage).get("deps", ()) for found in NAMED.findall(str(dep))}
    except (InputError, KeyError, AttributeError, TypeError):
        return set()
    return {key for key in repeated | tracked if "$" not in key and key.partition(".")[0] in Params.model_fields.keys() - spared}


def check(
    as_json: Annotated[
        bool, typer.Option("--json", help="Print {ok, problems, warnings, variants, deployments, tried} for a machine.")
    ] = False,
    is_deep: Annotated[
        bool, typer.Option("--deep", help="Also try every variant and target on the untrained net, in seconds, as `slimline run` does.")
    ] = False,
    params_file: ParamsFile = USUAL,
) -> None:
    """Find every mistake in params.yaml at once, and warn where int8 or 16 bits will bring less than it seems.

    Example: `slimline check --deep && make run`, or `slimline check --params params/table.yaml`
    """
    root = find_project()
    tried: list[dict[str, Any]] = []
    try:
        file = located(root, params_file)
        if is_deep and file != USUAL:
            raise InputError(f"--deep: tries what {USUAL} says; of {file} `slimline run --params {file} --target look` tries it in a clone")
        params = checked_params(root, file)
        if is_deep:
            preflight(root, params.publish, places=(root,), results_bytes=0, jobs=1)
            tried = trials(root)
            if problems := problems_of(tried):
                raise ParamsError(problems)
    except (InputError, MachineError) as error:
        if not as_json:
            sys.stderr.write(table(tried))
            raise
        problems = list(error.problems) if isinstance(error, ParamsError) else str(error).splitlines()
        _print({"ok": False, "problems": problems, "warnings": [], "tried": tried})
        raise typer.Exit(error.exit_code) from None
    deployments, advice = len(params.deploy.variants) * len(params.deploy.targets), warnings(params, root)
    if as_json:
        known = {"variants": ["teacher", *params.variants], "deployments": deployments, "tried": tried}
        _print({"ok": True, "problems": [], "warnings": advice, **known})
        return
    for line in advice:
        sys.stderr.write(f"warning: {line}\n")
    sys.stdout.write(table(tried))
    works = f", {len(tried)} trials" if tried else ""
    sys.stdout.write(f"{file} is fine: workload {params.workload}, {len(params.variants)} variants, {deployments} deployments{works}\n")


def _print(found: dict[str, Any]) -> None:
    sys.stdout.write(json.dumps(found, indent=2) + "\n")


def lacking(target: str) -> dict[str, str]:
    """What a target needs and this machine lacks: the packages or the program -> the command that installs them."""
    packages = [name for name in EXTRAS.get(target, ()) if not _is_installed(name)]
    programs = {name: install for name, install in PROGRAMS.get(target, {}).items() if shutil.which(name) is None}
    return ({" and ".join(packages): f"pip install 'slimline[{target}]'"} if packages else {}) | programs


def _is_installed(package: str) -> bool:
    try:
        return find_spec(package) is not None
    except ValueError:  # None stands in sys.modules: its import is forbidden here
        return False


def _lacking_for_targets(params: Params) -> Iterator[str]:
    for target in params.deploy.targets:
        for needed, install in lacking(target).items():
            yield f"params.yaml: deploy.targets: {target!r} needs {needed}; {install}, or remove it"


def _stated_workload(path: Path) -> str:
    try:
        raw = read_yaml(path)
    except (FileNotFoundError, InputError):
        return "digits"
    return str(raw.get("workload", "digits")) if isinstance(raw, dict) else "digits"
