"""`slimline check`: every mistake in params.yaml at once, before anything runs."""

import json
import sys
from pathlib import Path
from typing import Annotated

import typer

from slimline.errors import ParamsError, WorkloadError
from slimline.params import Params
from slimline.project import find_project
from slimline.workloads import locate_workload


def checked_params(root: Path) -> Params:
    """The project's params, with the workload located.

    Raises:
        ParamsError: with every problem.
    """
    problems: list[str] = []
    params = None
    try:
        params = Params.load(root / "params.yaml")
    except ParamsError as error:
        problems += error.problems
    name = params.workload if params else _stated_workload(root)
    try:
        locate_workload(name, root)
    except WorkloadError as error:
        problems.append(str(error))
    if problems or params is None:
        raise ParamsError(problems)
    return params


def check(
    as_json: Annotated[bool, typer.Option("--json", help="Print {ok, problems, variants, deployments} for a machine.")] = False,
) -> None:
    """Find every mistake in params.yaml at once.

    Example: `slimline check && make run`
    """
    root = find_project()
    try:
        params = checked_params(root)
    except ParamsError as error:
        if not as_json:
            raise
        sys.stdout.write(json.dumps({"ok": False, "problems": list(error.problems)}, indent=2) + "\n")
        raise typer.Exit(error.exit_code) from None
    deployments = len(params.deploy.variants) * len(params.deploy.targets)
    if as_json:
        found = {"ok": True, "problems": [], "variants": ["teacher", *params.variants], "deployments": deployments}
        sys.stdout.write(json.dumps(found, indent=2) + "\n")
        return
    sys.stdout.write(f"params.yaml is fine: workload {params.workload}, {len(params.variants)} variants, {deployments} deployments\n")


def _stated_workload(root: Path) -> str:
    import yaml

    try:
        raw = yaml.safe_load((root / "params.yaml").read_text(encoding="utf-8"))
    except (OSError, ValueError, yaml.YAMLError):
        return "digits"
    return str(raw.get("workload", "digits")) if isinstance(raw, dict) else "digits"
