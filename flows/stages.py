"""The Prefect tasks of a run: one stage, publishing, pushing and fetching; each calls a process and shows its lines live."""

import re
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from prefect import get_run_logger, task
from prefect.artifacts import create_markdown_artifact
from prefect.cache_policies import NO_CACHE
from prefect.client.schemas.objects import State
from prefect.states import Completed

from flows import engine
from flows.api import attempt
from flows.artifacts import TrainingBar
from flows.budget import why_not
from flows.cache import Cache
from flows.events import Ended, Noted, Said, Started, tell
from flows.forked import forked
from flows.mend import before, drop_unreadable, forget, restored_well
from flows.one_run import note
from flows.peaks import took, watched
from flows.run_cache import push_entries
from flows.sharing import leased
from slimline.errors import OF_MACHINE, NothingPassed, SlimlineError

ENDED_BY_ITSELF = frozenset({1, 2, 3, OF_MACHINE})
STATES = {"ran": "Completed", "restored": "Restored", "same": "Cached"}
UPLOAD_RETRY_SECONDS = 2.0


class CommandFailedError(SlimlineError):
    """A stage's command failed.

    `code` is its exit code; None means that DVC itself failed around it.
    """

    def __init__(self, stage: str, code: int | None, tail: tuple[str, ...]) -> None:
        self.stage, self.code, self.tail = stage, code, tail
        how = f"exited with {code}" if code is not None else "was not run: DVC failed"
        self.reason = _reason(tail).removeprefix("error: ")
        super().__init__(f"{stage} {how}: {_reason(tail)}")

    @property
    def is_machines(self) -> bool:
        """Whether the machine failed and not the stage's work: the stage said so, was killed, or DVC failed around it."""
        return self.code == OF_MACHINE or self.code not in ENDED_BY_ITSELF


def worth_retrying(_task: Any, _run: Any, state: State[Any]) -> bool:
    """A stage that ended by itself said no: same inputs, same answer. One that was killed, or that DVC could not start, may do better."""
    if engine.STOPPING.is_set():
        return False
    error = state.data if isinstance(state.data, BaseException) else state.result(raise_on_failure=False)
    return isinstance(error, CommandFailedError) and error.code not in ENDED_BY_ITSELF


def worth_uploading_again(_task: Any, _run: Any, state: State[Any]) -> bool:
    """A store that did not answer may answer now; one that refused will refuse again."""
    if engine.STOPPING.is_set():
        return False
    error = state.data if isinstance(state.data, BaseException) else state.result(raise_on_failure=False)
    return isinstance(error, CommandFailedError) and error.code not in (2, 3)


@task(
    task_run_name="{stage}",
    cache_policy=NO_CACHE,
    persist_result=False,
    retries=1,
    retry_delay_seconds=1,
    retry_condition_fn=worth_retrying,
)
def run_stage(stage: str, root: str, page: str | None, *, cache: str, clean: bool, force: bool) -> Any:
    """Bring one stage up to date by a `dvc repro` of its own. What is up to date already needs no process.

    What DVC restores is read once: where its bytes are damaged, they are dropped from the cache and the stage runs.
    """
    if clean and not force:
        tell(Ended(stage, "Cached", 0.0))
        return Completed(name="Cached", message="up to date")
    began = time.monotonic()
    tell(Started(stage))
    if (why := why_not(stage)) is not None:
        tell(Ended(stage, "Skipped", 0.0, (why,)))
        raise CommandFailedError(stage, SlimlineError.exit_code, (why,))
    with leased(stage, Path(root)) as key:
        finished, state = _reproduced(stage, root, Cache(Path(cache)), force=force)
        if key and state == "Completed" and not finished.code:
            _give(stage, root, key)
    seconds = time.monotonic() - began
    if finished.code:
        tell(Ended(stage, "Failed", seconds, finished.tail))
        raise CommandFailedError(stage, finished.stage_code, finished.tail)
    _attach_page(stage, root, page)
    tell(Ended(stage, state, seconds))
    return Completed(name=state, message=f"{state.lower()} in {seconds:.1f} s")


@task(
    task_run_name="{name}",
    cache_policy=NO_CACHE,
    persist_result=False,
    retries=2,
    retry_delay_seconds=UPLOAD_RETRY_SECONDS,
    retry_condition_fn=worth_uploading_again,
)
def run_upload(name: str, root: str, arguments: list[str]) -> Any:
    """Run one of the commands that talk to the S3 store: publish, push or fetch. All of them may be repeated."""
    began = time.monotonic()
    tell(Started(name))
    finished = _run(name, [sys.executable, *arguments], root)
    seconds = time.monotonic() - began
    if finished.code not in (0, NothingPassed.exit_code):
        tell(Ended(name, "Failed", seconds, finished.tail))
        raise CommandFailedError(name, finished.code, finished.tail)
    tell(Ended(name, "Completed", seconds))
    return Completed(message=finished.tail[-1] if finished.tail else "done")


def artifact_key(*parts: str) -> str:
    """Prefect's artifact keys hold a-z, 0-9 and '-' only."""
    return re.sub(r"[^a-z0-9]+", "-", "-".join(parts).lower()).strip("-")


def _reproduced(stage: str, root: str, cache: Cache, *, force: bool) -> tuple[engine.Finished, str]:
    """How `dvc repro` ended, and the state of the stage if it ended well."""
    earlier = before(Path(root), cache)
    finished = _repro(stage, ["--wait-for-lock", "repro", "--single-item", *["--force"] * force, stage], root)
    state = STATES[_what_happened(stage, finished.tail)]
    if finished.code and finished.stage_code is None:
        _heal(stage, drop_unreadable(cache))
    elif not finished.code and state == "Restored" and not restored_well(Path(root), stage, cache, earlier):
        _heal(stage, (*forget(Path(root), stage, cache, earlier), "what DVC restored was damaged; the stage runs"))
        return _reproduced(stage, root, cache, force=True)
    return finished, state


def _give(stage: str, root: str, key: str) -> None:
    """Put what a stage made where others find it, before its lease ends; where that fails they compute it again."""
    try:
        push_entries(Path(root), key)
        finished = _run(stage, [sys.executable, "-m", "dvc", "--wait-for-lock", "push", stage], root)
        if finished.code:
            raise SlimlineError(_reason(finished.tail))
    except SlimlineError as error:
        tell(Noted(f"{stage} is not shared: {error}"))


def _heal(stage: str, lines: tuple[str, ...]) -> None:
    note(lines, f"healed: {stage}: ")


def _repro(stage: str, arguments: list[str], root: str) -> engine.Finished:
    process = forked(arguments, Path(root)) or engine.started([sys.executable, "-m", "dvc", *arguments], Path(root))
    with watched(process.pid) as peaks:
        finished = engine.heard(process, stage, _shown(stage), in_order=True)
    if not finished.code and _what_happened(stage, finished.tail) == "ran":
        took(stage, peaks[0])
    return finished


def _run(name: str, command: list[str], root: str) -> engine.Finished:
    return engine.run_command(command, Path(root), _shown(name), in_order=False)


def _shown(name: str) -> Callable[[str], None]:
    logger, bar = get_run_logger(), TrainingBar(name, artifact_key("epochs", name))

    def show(line: str) -> None:
        logger.info("%s", line)
        bar.hear(line)
        tell(Said(name, line))

    return show


def _what_happened(stage: str, tail: tuple[str, ...]) -> str:
    """DVC says what it did; a long-winded stage may have pushed the words out of the tail, and then it ran."""
    text = "\n".join(tail)
    if f"Stage '{stage}' is cached - skipping run" in text:
        return "restored"
    return "same" if f"Stage '{stage}' didn't change, skipping" in text else "ran"


def _attach_page(stage: str, root: str, page: str | None) -> None:
    if page is not None and (path := Path(root) / page).is_file():
        text = path.read_text(encoding="utf-8")
        attempt(lambda: create_markdown_artifact(key=artifact_key("report", stage), markdown=text, description=f"{stage}: {page}"))


def _reason(tail: tuple[str, ...]) -> str:
    """The line to show: the stage's own error rather than DVC's words around it."""
    errors = [line for line in tail if line.lower().startswith("error:")]
    said = [line for line in errors if "failed to reproduce" not in line]
    return (said or errors or list(tail) or ["no output"])[-1]
