"""`slimline run` where nothing has changed since the last run: seen by DVC and the store alone, before Prefect is loaded or started.

The last run notes what it stood on. Where all of that is the same, DVC finds every stage up to date and the store still has every release,
there is nothing to do. In any other case, and where a Prefect API is up that is to see the run, the flow takes over in this process.
"""

import hashlib
import json
import os
import signal
import sys
import time
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path
from typing import Any

from flows.results import RELEASES, SUMMARY, Outcome, read_json
from flows.shown import console_of, print_json, show
from flows.signals import STOPS, Stopped, listen
from flows.terminal import Terminal
from slimline.artifact.folder import write_json
from slimline.errors import SlimlineError
from slimline.project import find_project
from slimline.storage.state_file import read_state

NOTE = ".slimline/finished.json"
FILES = ("dvc.yaml", "dvc.lock", "params.yaml", RELEASES, SUMMARY)
SETTINGS = ("AWS_ENDPOINT_URL", "AWS_ENDPOINT_URL_S3", "AWS_PROFILE", "AWS_ACCESS_KEY_ID", "SLIMLINE_SIGNING_KEY")
FLAGS = {"--json", "--jobs"}


def note_finished(project: Path, outcome: Outcome) -> None:
    """Note what a whole run in the project stood on; one that failed, or pushed nothing, notes that there is none."""
    path = project / NOTE
    if outcome.exit_code == 0 and outcome.releases is not None:
        write_json(path, stood_on(project))
    else:
        path.unlink(missing_ok=True)


def stood_on(project: Path) -> dict[str, str]:
    """Checksums of what says what is to be made and what was released, and of the settings that say where."""
    texts = {name: (project / name).read_bytes() if (project / name).is_file() else b"" for name in FILES}
    texts["settings"] = json.dumps([os.environ.get(name) for name in SETTINGS]).encode()
    return {name: hashlib.sha256(text).hexdigest() for name, text in texts.items()}


def unchanged(project: Path) -> Outcome | None:
    """How a run ends that has nothing to do; None where there may be something.

    Raises:
        BusyError: another run holds the workspace.
    """
    began = time.monotonic()
    if os.environ.get("PREFECT_API_URL") or _noted(project) != stood_on(project):
        return None
    from flows.dag import read_dag
    from flows.heal import wait_for_others
    from flows.lock import workspace_lock
    from flows.service_record import running_api_url
    from slimline.measure.machine import record

    if running_api_url(project):
        return None
    releases = read_json(project / RELEASES) or {}
    with workspace_lock(project), ThreadPoolExecutor(1) as beside:
        stored = beside.submit(_are_stored, project, releases)  # the embedded store takes as long to start as DVC to look
        wait_for_others(project)
        record(project)
        dag = read_dag(project)
        if not all(node.clean for node in dag.nodes.values()) or not stored.result():
            return None
    return Outcome(
        reports=project / "reports",
        seconds=time.monotonic() - began,
        states=dict.fromkeys(dag.nodes, "Cached"),
        summary=read_json(project / SUMMARY),
        releases=releases,
        remote=dag.remote,
    )


def _noted(project: Path) -> dict[str, Any] | None:
    return read_state(project / NOTE, dict)


def _are_stored(project: Path, releases: Mapping[str, str]) -> bool:
    """Whether the store answers and has the last file of each release, and the alias."""
    from flows.guard import guard
    from slimline.params import Params
    from slimline.storage.objects import read
    from slimline.storage.server import opened_store

    publish = Params.load(project / "params.yaml").publish
    with guard().store(project), opened_store(project, publish) as store:
        folders = [url.removeprefix(store.url("")) for url in releases.values()]
        aliases = {f"{folder.rstrip('/').rpartition('/')[0]}/aliases/{publish.alias}.json" for folder in folders}
        return all(read(store, key) is not None for key in (*(f"{folder}release.json" for folder in folders), *sorted(aliases)))


def main() -> None:
    """Say that there is nothing to do, or become the flow."""
    listen()
    try:
        outcome = unchanged(find_project()) if {one for one in sys.argv[1:] if one.startswith("-")} <= FLAGS else None
    except (SlimlineError, OSError):  # the flow meets it again, and tells it
        outcome = None
    except Stopped as stopped:
        Terminal(stderr=True).print(f"stopped by {stopped}")
        sys.exit(stopped.exit_code)
    if outcome is None:
        signal.pthread_sigmask(signal.SIG_BLOCK, STOPS)  # until the flow listens for them
        os.execv(sys.executable, [sys.executable, "-m", "flows.compress", *sys.argv[1:]])
    console = console_of(to_stderr="--json" in sys.argv)
    with suppress(OSError):  # nobody reads any more
        console.print(f"{len(outcome.states)} stages, all up to date, and what passed is released: nothing to do")
        if "--json" in sys.argv:
            print_json(outcome)
        show(outcome, console)


if __name__ == "__main__":
    main()
