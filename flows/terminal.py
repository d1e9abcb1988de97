"""A run on the terminal: what runs now, and one line for every stage that has ended. Prefect has the full log."""

import os
import time
from contextlib import suppress
from dataclasses import dataclass, field
from types import TracebackType
from typing import Self

from rich.console import Console, Group
from rich.live import Live
from rich.markup import escape
from rich.progress_bar import ProgressBar
from rich.spinner import Spinner
from rich.table import Table
from rich.text import Text

from flows.events import Ended, Event, Noted, Planned, Said, Started, listeners
from slimline.progress import read_progress

MARKS = {"Completed": "[green]✓[/]", "Restored": "[cyan]↺[/]", "Cached": "[dim]=[/]", "Failed": "[red]✗[/]"}
STAGE_WIDTH, BAR_WIDTH = 42, 12


class Terminal(Console):
    """A console whose reader may go away (`slimline run | head`): what nobody reads goes nowhere, and the run goes on."""

    def on_broken_pipe(self) -> None:
        """Print no more, and keep Python from trying once more at its end; rich's own would end whichever thread was printing."""
        self.quiet = True
        os.dup2(os.open(os.devnull, os.O_WRONLY), self.file.fileno())


@dataclass
class _Row:
    """A stage at work: since when, and the last line it wrote."""

    began: float
    line: str = ""
    spinner: Spinner = field(default_factory=lambda: Spinner("dots"))


class Screen:
    """Listens to the run's events for the length of a `with` block."""

    def __init__(self, console: Console) -> None:
        self.console = console
        self._rows: dict[str, _Row] = {}
        self._planned = Planned(0, 0, "")
        self._done = 0
        self._began = time.monotonic()
        self._is_gone = False
        self._live = Live(console=console, refresh_per_second=8, transient=True, get_renderable=self._running)

    def __enter__(self) -> Self:
        listeners.append(self.hear)
        self._live.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        with suppress(OSError):
            self._live.stop()
        listeners.remove(self.hear)

    def hear(self, event: Event) -> None:
        """Show one event; called from the threads of the stages, which go on where the terminal is gone."""
        if self._is_gone:
            return
        try:
            self._show(event)
        except OSError:
            self._is_gone = True

    def _show(self, event: Event) -> None:
        match event:
            case Planned(stages, clean, _):
                self._planned, self._done = event, clean
                self.console.print(f"{stages} stages, {clean} of them up to date")
            case Noted(text):
                self.console.print(f"[yellow]{escape(text)}[/]")
            case Started(stage):
                self._rows[stage] = _Row(time.monotonic())
            case Said(stage, line) if stage in self._rows:
                self._rows[stage].line = line
            case Ended():
                self._end(event)
            case _:
                pass

    def _end(self, event: Ended) -> None:
        started = self._rows.pop(event.stage, None)
        if started is None:
            return
        self._done += 1
        mark = MARKS.get(event.state, "·")
        self.console.print(f"{mark} {escape(event.stage):<44} {event.seconds:7.1f} s  {event.state.lower()}")
        for line in event.tail:
            self.console.print(Text(f"    {line}", style="red" if "error" in line.lower() else "dim"))

    def _running(self) -> Group:
        now = time.monotonic()
        table = Table.grid(padding=(0, 1), expand=True)
        for width in (1, STAGE_WIDTH, 9, BAR_WIDTH):
            table.add_column(no_wrap=True, min_width=width)
        table.add_column(no_wrap=True, overflow="ellipsis", ratio=1)
        for stage, row in list(self._rows.items()):
            told = read_progress(row.line)
            bar = ProgressBar(total=told.total, completed=told.done, width=BAR_WIDTH) if told else ""
            table.add_row(row.spinner, stage, f"{now - row.began:7.1f} s", bar, Text(row.line))
        total = f"{min(self._done, self._planned.stages)} of {self._planned.stages} stages" if self._planned.stages else "starting"
        return Group(table, Text(f"{total}, {now - self._began:.0f} s", style="dim"))
