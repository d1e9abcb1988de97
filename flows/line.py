"""One run of the line, in place or in a clone: check, heal, lock, run the DAG, publish, push."""

import os
import shutil
import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from prefect import get_run_logger
from prefect.context import FlowRunContext

from flows import engine
from flows.artifacts import progress_artifact, show_results
from flows.cache import Cache
from flows.dag import Dag, read_dag
from flows.environment import added, state_folder
from flows.events import Noted, Planned, tell
from flows.guard import guard
from flows.heal import heal, heal_runs, remove_drafts, snapshot, wait_for_others
from flows.kept import keep_foreign
from flows.lock import workspace_lock
from flows.mend import drop_damaged_lists, mend
from flows.options import Options
from flows.orphans import remove_orphans
from flows.results import DONE, RELEASES, SUMMARY, Outcome, read_json
from flows.schedule import failure_code, run_dag
from flows.stages import run_upload
from flows.workspace import Workspace, check_overrides, run_workspace, save_experiment
from slimline.errors import SlimlineError
from slimline.measure.machine import record
from slimline.params import Params
from slimline.report.provenance import STARTED
from slimline.storage.url import refuse_secrets

KEPT_REPORTS = ("index.html", "index.md", "summary.json", "releases.json")


@dataclass(frozen=True)
class Run:
    """What a run works with: the user's project, the folder it runs in (the same one, or a clone), its options and checked params."""

    project: Path
    folder: Path
    options: Options
    params: Params
    began: float


def run_line(project: Path, options: Options) -> Outcome:
    """Run all of it and say how it ended. Failed stages are part of the outcome; only what stops the whole run is raised.

    Raises:
        ParamsError: params.yaml or an override is wrong; nothing was started.
        StorageRefused: the store's address holds a password; nothing was started.
        InputError: a target matches no stage, or dvc.yaml is wrong.
        BusyError: another run holds the workspace.
    """
    began = time.monotonic()
    params = check_overrides(project, options.set_params)
    refuse_secrets(params.publish.endpoint_url or os.environ.get("AWS_ENDPOINT_URL_S3") or os.environ.get("AWS_ENDPOINT_URL"))
    _note(heal_runs(project), "healed: ")
    if options.set_params or options.isolated or _is_scheduled():
        _note(heal(project), "healed: ")
        return _run_in_clone(project, options, params, began)
    with workspace_lock(project):
        return _run_in(Run(project, project, options, params, began))


def _run_in_clone(project: Path, options: Options, params: Params, began: float) -> Outcome:
    cache = read_dag(project).cache
    carry = not (options.isolated or _is_scheduled())
    with run_workspace(project, _run_name(), cache, options.set_params, carry=carry) as workspace, workspace_lock(workspace.folder):
        outcome = _run_in(Run(project, workspace.folder, options, params, began))
        _keep_reports(project, workspace)
        if all(state in DONE for state in outcome.states.values()):
            outcome = _saved(project, workspace, outcome, tuple(outcome.states) if options.targets else ())
    return replace(outcome, reports=state_folder(project) / "runs" / workspace.name, seconds=time.monotonic() - began)


def _saved(project: Path, workspace: Workspace, outcome: Outcome, stages: tuple[str, ...]) -> Outcome:
    """The outcome with its experiment; where that cannot be saved, the results are in the cache all the same."""
    try:
        return replace(outcome, experiment=save_experiment(project, workspace, stages))
    except SlimlineError as error:
        tell(Noted(f"not saved as an experiment: {error}"))
        return replace(outcome, failures={**outcome.failures, "experiment": error.exit_code})


def _run_in(run: Run) -> Outcome:
    wait_for_others(run.folder)
    _note(heal(run.folder), "healed: ")
    record(run.folder)
    with ExitStack() as open_until_the_end:
        open_until_the_end.enter_context(added({STARTED: str(time.time())}))
        if run.params.teacher.source.startswith("s3://") or run.options.pull:
            open_until_the_end.enter_context(store(run))
        open_until_the_end.enter_context(engine.stopped_on_the_way_out())
        outcome = _released(run, _run_stages(run))
        if "publish" in outcome.failures and _mend(run, read_dag(run.folder), outcome.states, outcome.states):
            outcome = _released(run, _run_stages(run))
    if outcome.summary is not None:
        show_results(outcome.summary, outcome.releases)
    return replace(outcome, seconds=time.monotonic() - run.began)


def _released(run: Run, outcome: Outcome) -> Outcome:
    snapshot(run.folder)
    return _publish(run, outcome) if run.options.publish and outcome.accepted else outcome


def _run_stages(run: Run) -> Outcome:
    if run.options.pull:
        run_upload("fetch", str(run.folder), ["-m", "dvc", "fetch", "--run-cache"], return_state=True)
    dag = _ready_dag(run)
    clean = 0 if run.options.force else sum(node.clean for node in dag.nodes.values())
    tell(Planned(len(dag.nodes), clean, str(run.folder)))
    get_run_logger().info("%d stages, %d of them up to date", len(dag.nodes), clean)
    states, failures = _states(run, dag)
    if _mend(run, dag, dag.above(failures) | {dag.maker(SUMMARY) or ""}, states):
        states, failures = _states(run, read_dag(run.folder, run.options.targets))
    judged = states.get(dag.maker(SUMMARY) or "") in DONE
    return Outcome(
        reports=run.folder / "reports",
        seconds=0.0,
        states=states,
        failures=failures,
        summary=read_json(run.folder / SUMMARY) if judged else None,
        remote=dag.remote,
    )


def _ready_dag(run: Run) -> Dag:
    """The DAG of a workspace that is cleaned: nothing of stages that are gone, nothing of somebody's own where DVC would remove it."""
    dag = read_dag(run.folder, run.options.targets)
    _note((*drop_damaged_lists(Cache(dag.cache)), *remove_drafts(run.folder, (*dag.outs, RELEASES))), "healed: ")
    if run.folder != run.project and _mend(run, dag, dag.nodes, {name: "Restored" for name, node in dag.nodes.items() if node.clean}):
        dag = read_dag(run.folder, run.options.targets)
    if not run.options.targets:
        cleaned = remove_orphans(run.folder, dag)
        _note(cleaned.removed)
        _note(cleaned.left)
    _note(keep_foreign(run.folder, run.project, dag))
    return dag


def _mend(run: Run, dag: Dag, suspects: Iterable[str], states: Mapping[str, str]) -> bool:
    """Whether any of the stages that DVC took for up to date had damaged files; they are removed then, and run_dag brings them back."""
    healed = mend(run.folder, Cache(dag.cache), sorted(name for name in suspects if states.get(name) in ("Cached", "Restored")))
    _note(healed, "healed: ")
    return bool(healed)


def _states(run: Run, dag: Dag) -> tuple[dict[str, str], dict[str, int]]:
    states: dict[str, str] = {}
    failures: dict[str, int] = {}
    jobs, force, fail_fast = run.options.jobs, run.options.force, run.options.on_failure == "fail-fast"
    progress = progress_artifact()
    for name, state in run_dag(dag, str(run.folder), jobs=jobs, force=force, fail_fast=fail_fast, on_progress=progress):
        states[name] = state.name
        code = failure_code(state)
        if code is not None:
            failures[name] = code
    for name in dag.nodes:
        states.setdefault(name, "NotReady")
    return states, failures


def _publish(run: Run, outcome: Outcome) -> Outcome:
    """Release what passed, then push the results and the run cache, so that no machine computes them again."""
    failures = dict(outcome.failures)
    with store(run):
        code = _upload(run, "publish", ["-m", "tasks.publish"])
        if not code and outcome.remote is not None:
            code = _upload(run, "push", ["-m", "dvc", "--wait-for-lock", "push", "--run-cache"])
            failures |= {"push": code} if code else {}
        elif code:
            failures["publish"] = code
    return replace(outcome, failures=failures, releases=read_json(run.folder / RELEASES))


def _upload(run: Run, name: str, arguments: list[str]) -> int:
    return failure_code(run_upload(name, str(run.folder), arguments, return_state=True)) or 0


@contextmanager
def store(run: Run) -> Iterator[None]:
    """The S3 store's address and keys in the environment: the embedded server's where the user has set none."""
    from slimline.storage.server import store_environment

    with guard().store(run.project), store_environment(run.project, run.params.publish) as environment, added(environment):
        yield


def _note(lines: tuple[str, ...], before: str = "") -> None:
    for line in lines:
        get_run_logger().warning("%s%s", before, line)
        tell(Noted(f"{before}{line}"))


def _is_scheduled() -> bool:
    context = FlowRunContext.get()
    return bool(context and context.flow_run and context.flow_run.auto_scheduled)


def _run_name() -> str:
    context = FlowRunContext.get()
    if context is None or context.flow_run is None:
        raise RuntimeError("a run in a clone is named after its flow run, and there is none")
    return f"{context.flow_run.name}-{str(context.flow_run.id)[-6:]}"


def _keep_reports(project: Path, workspace: Workspace) -> None:
    """The clone goes; its decision page stays, below .slimline/runs/."""
    kept = state_folder(project) / "runs" / workspace.name
    kept.mkdir(parents=True, exist_ok=True)
    for name in KEPT_REPORTS:
        if (workspace.folder / "reports" / name).is_file():
            shutil.copyfile(workspace.folder / "reports" / name, kept / name)
