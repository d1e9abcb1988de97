"""The recipe search as a flow: chains of methods are tried in a clone of the project, and the frontier is judged on test, once.

`python -m flows.search`, or the deployment `search` of prefect.yaml. All that is known of a chain is in a journal below .slimline/search:
a search that was stopped, or killed, goes on where it was.
"""

import hashlib
import json
import os
from pathlib import Path
from typing import Any

from prefect import flow
from prefect.task_runners import ThreadPoolTaskRunner
from pydantic import BaseModel, ConfigDict, Field

from flows import engine
from flows.cache import files_of
from flows.dag import read_dag
from flows.environment import state_folder
from flows.forked import WORTH_IT, fork_server
from flows.frame import MAX_TASKS, ended
from flows.heal import heal_runs
from flows.lock import workspace_lock
from flows.searched import Searched
from flows.searching import Search, run_to
from flows.trials import Clone, without_variants
from flows.workspace import check_overrides, run_workspace
from slimline.artifact.folder import sha256_of
from slimline.errors import InputError, SlimlineError
from slimline.params import VARIANT_SECTIONS, GateParams, Params
from slimline.params.own import FOLDER as METHODS
from slimline.params.search import SearchParams
from slimline.params.yaml_file import read_yaml
from slimline.search.chains import legal_orders

FOLDER = "search"
BASE = ("calibrate",)
"""What every chain stands on, with all before it: made before the first."""


class SearchOptions(BaseModel):
    """The parameters of one call; what is looked through stands in params.yaml, section `search`."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    jobs: int = Field(default=2, ge=1, le=64, description="How many stages run side by side.")
    set_params: dict[str, str] = Field(default_factory=dict, description="Overrides of params.yaml, e.g. {'search.minutes': '60'}.")


@flow(name="search", task_runner=ThreadPoolTaskRunner(max_workers=MAX_TASKS), persist_result=False)
def search(options: SearchOptions = SearchOptions()) -> Any:  # noqa: B008 - a frozen model, and Prefect shows its defaults in the form
    """Try chains of methods, train the best in full, and judge the frontier on test."""
    return ended(lambda project: run_search(project, options))


def run_search(project: Path, options: SearchOptions) -> Searched:
    """Look, judge, and write the page.

    Raises:
        ParamsError: params.yaml is wrong, or has no section `search`; nothing was started.
        BusyError: another search of this project runs.
        SlimlineError: what all chains stand on could not be made.
    """
    params = check_overrides(project, options.set_params)
    asked = asked_of(params)
    heal_runs(project)
    state = state_folder(project) / FOLDER
    name = f"search-{os.getpid()}"
    cache = read_dag(project).cache
    with (
        workspace_lock(state),
        run_workspace(project, name, cache, options.set_params, carry=True) as workspace,
        fork_server(WORTH_IT),
        engine.stopped_on_the_way_out(),
    ):
        written = read_yaml(workspace.folder / "params.yaml")
        raw = without_variants(written, params, asked.beside, asked.targets or params.deploy.targets)
        clone = Clone(workspace.folder, raw, options.jobs, state / "dvc.lock")
        clone.recall()
        _made_base(project, clone)
        clone.remember()
        folder = state / key_of(workspace.folder, params)
        return Search(project, params, asked, clone, folder, margin_of(workspace.folder, params.gate)).run()


def asked_of(params: Params) -> SearchParams:
    """The section `search`.

    Raises:
        InputError: there is none, or it allows no chain.
    """
    if params.search is None:
        raise InputError("params.yaml: search: missing; say there which methods may be chained and for how long (docs/search.md)")
    if not legal_orders(params.search, params.search.targets or params.deploy.targets):
        raise InputError("params.yaml: search.methods: none of them may start from the teacher and run on every target; add one that may")
    return params.search


def key_of(folder: Path, params: Params) -> str:
    """What a search is known by: params but for its bounds, the orders, the bytes of teacher and data, and all code of one's own."""
    bounds = {"minutes", "trials", "frontier", "beside", "at_once"}
    left_out = {"deploy": {"variants"}, "search": bounds, "publish": True, "gate": {"judged_before"}}
    content = params.model_dump(mode="json", exclude=left_out)
    made = read_yaml(folder / "dvc.lock")["stages"]
    outs = {out["path"]: out["md5"] for stage in ("data", "teacher") for out in made[stage]["outs"] if out["path"].startswith("data/")}
    variants = dict.fromkeys(VARIANT_SECTIONS)
    asked = asked_of(params)
    orders = sorted(legal_orders(asked, asked.targets or params.deploy.targets))
    told = json.dumps([content | variants, orders, outs, own_code_of(folder)], sort_keys=True)
    return hashlib.sha256(told.encode()).hexdigest()[:12]


def own_code_of(folder: Path) -> dict[str, str]:
    """Checksums of the files below the folders of one's own workloads and methods, which DVC's stages depend on as a whole too."""
    files = (path for name in (METHODS, "workloads") for path in files_of(folder / name) if path.is_file())
    return {path.relative_to(folder).as_posix(): sha256_of(path) for path in files if "__pycache__" not in path.parts}


def margin_of(folder: Path, gate: GateParams) -> float:
    """How far the metric may fall on validation, in its own unit; a share of the teacher's figure where the gate gives one."""
    if gate.max_relative_drop is None:
        return gate.max_drop
    teacher = json.loads((folder / "reports/metrics/teacher/teacher.json").read_text(encoding="utf-8"))
    return abs(float(teacher["validation"][gate.metric])) * gate.max_relative_drop or gate.max_drop


def _made_base(project: Path, clone: Clone) -> None:
    params = clone.write(())
    outcome = run_to(project, clone, params, (*BASE, *(f"teach@{name}" for name in params.teach)))
    if outcome.failures:
        error = InputError if InputError.exit_code in outcome.failures.values() else SlimlineError
        raise error(f"search: what every chain starts from could not be made: {outcome.message}")


if __name__ == "__main__":
    from flows.command import search_main

    search_main(search, lambda jobs, overrides: SearchOptions(jobs=jobs, set_params=overrides))
