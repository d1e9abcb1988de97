"""`slimline status`: services, the next scheduled runs, what runs now and how long still, the last verdicts of each params file, live."""

import json
import sys
import time
from collections.abc import Mapping
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx
import typer
from rich.console import Console, Group
from rich.live import Live
from rich.progress_bar import ProgressBar
from rich.table import Table
from rich.text import Text

from flows.durations import durations, left_s
from flows.last_reports import last_verdicts
from flows.running import runs_now
from flows.service_record import recorded
from slimline.commands.status import AsJson, Once
from slimline.errors import SlimlineError
from slimline.params import Params
from slimline.progress import read_progress
from slimline.project import find_project
from slimline.report.console import STYLES
from slimline.storage.server import server_state

EVERY_S = 1.0
API_S = 2.0
NEXT = 3
"""Scheduled runs that are shown."""


def status_of(project: Path) -> dict[str, Any]:
    """All of it, as `--json` prints it. Nothing is started, and what cannot be known is null."""
    services = recorded(project)
    return {
        "project": str(project),
        "services": {one.name: one.process is not None for one in services.processes} if services else {},
        "ui": services.ui_url if services else None,
        "store": _store(project),
        "scheduled": _scheduled(services.api_url) if services else [],
        "running": [_with_left(run, durations(project, run["file"])) for run in runs_now(project)],
        "verdicts": last_verdicts(project),
    }


def _store(project: Path) -> dict[str, Any] | None:
    try:
        state = server_state(project, Params.load(project / "params.yaml").publish)
    except SlimlineError:
        return None
    return {"endpoint": state.endpoint, "bucket": state.bucket, "is_embedded": state.embedded, "is_running": state.running}


def _scheduled(api_url: str) -> list[dict[str, str]]:
    body = {"sort": "EXPECTED_START_TIME_ASC", "limit": NEXT, "flow_runs": {"state": {"type": {"any_": ["SCHEDULED"]}}}}
    try:
        answer = httpx.post(f"{api_url}/flow_runs/filter", json=body, timeout=API_S)
        answer.raise_for_status()
        return [{"name": str(run["name"]), "at": str(run["expected_start_time"])} for run in answer.json()]
    except (httpx.HTTPError, ValueError, KeyError, TypeError):
        return []


def _with_left(run: dict[str, Any], known: Mapping[str, float]) -> dict[str, Any]:
    now = time.time()
    for stage, doing in run["doing"].items():
        doing["elapsed_s"] = round(now - doing["since"], 1)
        told = read_progress(doing["line"])
        doing["epochs"] = asdict(told) if told else None
        doing["left_s"] = left_s(stage, doing["elapsed_s"], known)
    return run


def screen(status: Mapping[str, Any]) -> Group:
    """The same for people."""
    return Group(_head(status), *(_run(run) for run in status["running"]), _foot(status))


def _head(status: Mapping[str, Any]) -> Table:
    table = Table.grid(padding=(0, 2))
    table.add_row(Text("project", style="dim"), status["project"])
    names = Text(", ").join(
        Text(f"{name} {'up' if lives else 'down'}", "green" if lives else "red") for name, lives in status["services"].items()
    )
    table.add_row(Text("services", style="dim"), names if status["services"] else Text("none; make up starts them", style="dim"))
    if status["ui"]:
        table.add_row("", status["ui"])
    if store := status["store"]:
        kind, state = "embedded" if store["is_embedded"] else "own", "up" if store["is_running"] else "up while it is used"
        table.add_row(Text("store", style="dim"), f"{kind}, s3://{store['bucket']}, {store['endpoint'] or state}")
    for number, one in enumerate(status["scheduled"]):
        table.add_row(Text("" if number else "next", style="dim"), f"{_at(one['at'])}  {one['name']}")
    return table


def _run(run: Mapping[str, Any]) -> Group:
    title = Text.assemble(
        "\n", ("runs  ", "dim"), f"{run['done']} of {run['stages']} stages, {_span(time.time() - run['since'])}, in {run['folder']}"
    )
    if run["failed"]:
        title.append(f"; failed: {', '.join(run['failed'])}", style="red")
    table = Table.grid(padding=(0, 2), expand=True)
    for width in (1, max(map(len, run["doing"]), default=1), 9, 20, 15):
        table.add_column(no_wrap=True, min_width=width)
    table.add_column(no_wrap=True, overflow="ellipsis", ratio=1)
    for stage, doing in run["doing"].items():
        left, elapsed = doing["left_s"], doing["elapsed_s"]
        total = None if left is None else max(elapsed + left, 0.1)
        bar = ProgressBar(total=total, completed=elapsed, width=20, pulse=total is None)
        if epochs := doing["epochs"]:
            bar = ProgressBar(total=epochs["total"], completed=epochs["done"], width=20)
        told = "first time" if left is None else f"{_span(left)} left" if left else "longer than last"
        table.add_row("", stage, _span(elapsed), bar, told, Text(doing["line"], style="dim"))
    return Group(title, table)


def _foot(status: Mapping[str, Any]) -> Text:
    if not status["verdicts"]:
        return Text("\nno report yet; slimline run makes one", style="dim")
    return Text("").join(_last(one) for one in status["verdicts"])


def _last(verdicts: Mapping[str, Any]) -> Text:
    text = Text.assemble("\n", ("last  ", "dim"), f"{verdicts['workload']} ({verdicts['params_file']}), {_at(verdicts['started'])}: ")
    text.append_text(Text(", ").join(Text(f"{verdicts[name]} {name}", style) for name, style in STYLES.items() if verdicts.get(name)))
    for name in verdicts["accepted"]:
        text.append(f"\n      {name}", style="green")
        text.append(f"  {(verdicts['released'] or {}).get(name, 'not released')}", style="dim")
    return text


def _at(text: str) -> str:
    return datetime.fromisoformat(text).astimezone(UTC).strftime("%Y-%m-%d %H:%M UTC")


def _span(seconds: float) -> str:
    minutes, rest = divmod(int(seconds), 60)
    return f"{minutes // 60} h {minutes % 60:02} min" if minutes >= 60 else f"{minutes} min {rest:02} s" if minutes else f"{rest} s"


def main(once: Once = False, as_json: AsJson = False) -> None:
    """Services, the next scheduled runs, what runs now, and the last verdicts. Ctrl-C ends the screen and nothing else."""
    project, console = find_project(), Console()
    if as_json:
        sys.stdout.write(json.dumps(status_of(project), indent=2) + "\n")
    elif once or not console.is_terminal:
        console.print(screen(status_of(project)), soft_wrap=True)
    else:
        with Live(console=console, screen=True, auto_refresh=False) as live:
            try:
                while True:
                    live.update(screen(status_of(project)), refresh=True)
                    time.sleep(EVERY_S)
            except KeyboardInterrupt:
                return


if __name__ == "__main__":
    typer.run(main)
