"""One run of the line, in place or in a clone: check, heal, lock, run the DAG, publish, push."""

import itertools
import os
import time
from collections.abc import Iterable, Mapping
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path

from prefect import get_run_logger
from prefect.context import FlowRunContext

from flows import engine
from flows.artifacts import progress_artifact, show_results
from flows.budget import budget
from flows.cache import Cache, lock_text, made_bytes
from flows.dag import Dag, read_dag
from flows.durations import durations
from flows.environment import EXPERIMENTS, added
from flows.events import Noted, Planned, tell
from flows.forked import fork_server
from flows.guard import guard
from flows.heal import heal, heal_runs, remove_drafts, wait_for_others
from flows.kept import keep_foreign
from flows.last_reports import keep_about, keep_reports, kept_reports
from flows.lock import workspace_lock
from flows.mend import drop_damaged_lists, mend
from flows.one_run import Run, note
from flows.options import Options
from flows.orphans import remove_orphans
from flows.peaks import keep_peaks
from flows.queues import Needs, lacking, needs_of
from flows.release import released, remember_run, store
from flows.results import DONE, RELEASES, SUMMARY, Outcome, read_json
from flows.running import seen_by_others
from flows.schedule import Failure, failure_of, run_dag
from flows.sharing import sharing
from flows.stages import run_upload
from flows.standing import report_what_stands, stands, what_is_missing
from flows.unchanged import note_finished
from flows.workspace import Workspace, check_overrides, run_workspace, save_experiment
from slimline.commands.preflight import preflight
from slimline.errors import InputError, SlimlineError
from slimline.measure.machine import record
from slimline.params import Params
from slimline.params.files import USUAL, located
from slimline.report.provenance import STARTED


def run_line(project: Path, options: Options) -> Outcome:
    """Run all of it and say how it ended. Failed stages are part of the outcome; only what stops the whole run is raised.

    Raises:
        ParamsError: the params file or an override is wrong; nothing was started.
        StorageRefused: the store's address holds a password; nothing was started.
        InputError: a target matches no stage, or dvc.yaml is wrong.
        BusyError: another run holds the workspace.
    """
    began = time.monotonic()
    params = check_overrides(project, options.set_params, options.params_file)
    note(heal_runs(project), "healed: ")
    if options.set_params or options.isolated or options.params_file != USUAL or _is_scheduled():
        note(heal(project), "healed: ")
        return _run_in_clone(project, options, params, began)
    with workspace_lock(project):
        outcome = run_in(Run(project, project, options, params, began))
        if not options.targets:
            note_finished(project, outcome)
    return outcome


def _run_in_clone(project: Path, options: Options, params: Params, began: float) -> Outcome:
    cache = read_dag(project).cache
    carry = not (options.isolated or _is_scheduled())
    file = located(project, options.params_file)
    with run_workspace(project, _run_name(), cache, options.set_params, carry=carry, file=file) as workspace:
        outcome = run_in(Run(project, workspace.folder, options, params, began))
        kept = kept_reports(project, workspace.name)
        keep_reports(workspace.folder / "reports", kept)
        keep_about(kept, file, began)
        if all(state in DONE for state in outcome.states.values()):
            outcome = _saved(project, workspace, outcome, tuple(outcome.states) if options.targets else ())
    return replace(outcome, reports=kept, seconds=time.monotonic() - began)


def _saved(project: Path, workspace: Workspace, outcome: Outcome, stages: tuple[str, ...]) -> Outcome:
    """The outcome with its experiment; where that cannot be saved, the results are in the cache all the same."""
    try:
        return replace(outcome, experiment=save_experiment(project, workspace, stages, os.environ.get(EXPERIMENTS)))
    except SlimlineError as error:
        tell(Noted(f"not saved as an experiment: {error}"))
        return replace(outcome, failures={**outcome.failures, "experiment": error.exit_code})


def run_in(run: Run) -> Outcome:
    """Run all of it in the run's folder, whose lock the caller holds.

    Raises:
        InputError, BusyError: as `run_line`.
    """
    wait_for_others(run.folder)
    note(heal(run.folder), "healed: ")
    record(run.folder)
    with ExitStack() as open_until_the_end:
        open_until_the_end.callback(keep_peaks, run.project, run.options.params_file)
        open_until_the_end.enter_context(added({STARTED: str(time.time())}))
        if run.params.teacher.source.startswith("s3://") or run.options.pull or run.options.share:
            open_until_the_end.enter_context(store(run))
        open_until_the_end.enter_context(engine.stopped_on_the_way_out())
        open_until_the_end.enter_context(seen_by_others(run.project, run.folder, run.options.params_file))
        outcome = released(run, _run_stages(run))
        if "publish" in outcome.failures and _mend(run, read_dag(run.folder), outcome.states, outcome.states):
            outcome = released(run, _run_stages(run))
    if outcome.summary is not None:
        show_results(outcome.summary, outcome.releases)
        if run.options.publish and not run.options.targets and set(outcome.states.values()) != {"Cached"}:
            remember_run(run, outcome)
    return replace(outcome, seconds=time.monotonic() - run.began)


def _run_stages(run: Run) -> Outcome:
    if run.options.pull:
        run_upload("fetch", str(run.folder), ["-m", "dvc", "fetch", "--run-cache"], return_state=True)
    dag = _ready_dag(run)
    clean = 0 if run.options.force else sum(node.clean for node in dag.nodes.values())
    tell(Planned(len(dag.nodes), clean, str(run.folder)))
    get_run_logger().info("%d stages, %d of them up to date", len(dag.nodes), clean)
    with fork_server(len(dag.nodes) - clean):  # its imports take as long as what is looked at before the first stage
        if clean < len(dag.nodes):
            _preflight(run, dag)
        shared = sharing(run.params.publish, remote=dag.remote, wanted=run.options.share)
        timed = budget(run.options.budget, run.began, dag, durations(run.project, run.options.params_file))
        with shared, timed, engine.stopped_on_the_way_out():
            states, failed = _states(run, dag)
            if _mend(run, dag, dag.above(failed) | {dag.maker(SUMMARY) or ""}, states):
                dag = read_dag(run.folder, run.options.targets)
                states, failed = _states(run, dag)
    failures = {name: failure.code for name, failure in failed.items()}
    judged = states.get(dag.maker(SUMMARY) or "") in DONE
    if failed and states.get(dag.maker(SUMMARY) or "") == "NotReady" and run.options.on_failure == "keep-going":
        judged = _report_what_stands(run, dag, states, failed)
    return Outcome(
        reports=run.folder / "reports",
        seconds=0.0,
        states=states,
        failures=failures,
        summary=read_json(run.folder / SUMMARY) if judged else None,
        remote=dag.remote,
    )


def _preflight(run: Run, dag: Dag) -> None:
    """Nothing is begun that could not be brought to its end."""
    to_run = [node.name for node in dag.nodes.values() if run.options.force or not node.clean]
    if problems := tuple(lacking(_needs(run, to_run), run.options.params_file)):
        raise InputError("\n".join(problems))
    places, results_bytes = (run.folder, dag.cache if dag.cache.is_dir() else run.folder), made_bytes(lock_text(run.folder), to_run)
    publish = run.params.publish if run.options.publish else None
    with guard().store(run.project):
        preflight(run.project, publish, places=places, results_bytes=results_bytes, jobs=min(run.options.jobs, len(to_run)))


def _needs(run: Run, stages: list[str]) -> Needs:
    """What the stages need, by what is known here and by what is known where the run was sent from."""
    found = needs_of(run.params, run.project, run.options.params_file, stages)
    return replace(found, memory_bytes=max(found.memory_bytes, run.options.memory_gib << 30))


def _report_what_stands(run: Run, dag: Dag, states: dict[str, str], failed: dict[str, Failure]) -> bool:
    """A page of all that no failed stage has cost; whether there is one."""
    deployed = tuple(itertools.product(run.params.deploy.variants, run.params.deploy.targets))
    missing = what_is_missing(dag.nodes, states, {name: failure.reason for name, failure in failed.items()}, deployed)
    if engine.STOPPING.is_set() or not stands(dag.nodes, missing, deployed):
        return False
    return report_what_stands(run.folder, missing) == 0


def _ready_dag(run: Run) -> Dag:
    """The DAG of a workspace that is cleaned: nothing of stages that are gone, nothing of somebody's own where DVC would remove it."""
    dag = read_dag(run.folder, run.options.targets)
    note((*drop_damaged_lists(Cache(dag.cache)), *remove_drafts(run.folder, (*dag.outs, RELEASES))), "healed: ")
    if run.folder != run.project and _mend(run, dag, dag.nodes, {name: "Restored" for name, node in dag.nodes.items() if node.clean}):
        dag = read_dag(run.folder, run.options.targets)
    if not run.options.targets:
        cleaned = remove_orphans(run.folder, dag)
        note(cleaned.removed)
        note(cleaned.left)
    note(keep_foreign(run.folder, run.project, dag))
    return dag


def _mend(run: Run, dag: Dag, suspects: Iterable[str], states: Mapping[str, str]) -> bool:
    """Whether any of the stages that DVC took for up to date had damaged files; they are removed then, and run_dag brings them back."""
    healed = mend(run.folder, Cache(dag.cache), sorted(name for name in suspects if states.get(name) in ("Cached", "Restored")))
    note(healed, "healed: ")
    return bool(healed)


def _states(run: Run, dag: Dag) -> tuple[dict[str, str], dict[str, Failure]]:
    states: dict[str, str] = {}
    failures: dict[str, Failure] = {}
    jobs, force, fail_fast = run.options.jobs, run.options.force, run.options.on_failure == "fail-fast"
    progress = progress_artifact()
    for name, state in run_dag(dag, str(run.folder), jobs=jobs, force=force, fail_fast=fail_fast, on_progress=progress):
        states[name] = state.name
        if (failure := failure_of(state)) is not None:
            failures[name] = failure
    for name in dag.nodes:
        states.setdefault(name, "NotReady")
    return states, failures


def _is_scheduled() -> bool:
    context = FlowRunContext.get()
    return bool(context and context.flow_run and context.flow_run.auto_scheduled)


def _run_name() -> str:
    context = FlowRunContext.get()
    if context is None or context.flow_run is None:
        raise RuntimeError("a run in a clone is named after its flow run, and there is none")
    return f"{context.flow_run.name}-{str(context.flow_run.id)[-6:]}"
