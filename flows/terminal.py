"""A run on the terminal: what runs now, and one line for every stage that has ended. Prefect has the full log."""

import os
import time
from contextlib import suppress
from types import TracebackType
from typing import Self

from rich.console import Console, Group
from rich.live import Live
from rich.markup import escape
from rich.spinner import Spinner
from rich.text import Text

from flows.events import Ended, Event, Noted, Planned, Said, Started, listeners

MARKS = {"Completed": "[green]✓[/]", "Restored": "[cyan]↺[/]", "Cached": "[dim]=[/]", "Failed": "[red]✗[/]"}
LINE_WIDTH = 60


class Terminal(Console):
    """A console whose reader may go away (`slimline run | head`): what nobody reads goes nowhere, and the run goes on."""

    def on_broken_pipe(self) -> None:
        """Print no more, and keep Python from trying once more at its end; rich's own would end whichever thread was printing."""
        self.quiet = True
        os.dup2(os.open(os.devnull, os.O_WRONLY), self.file.fileno())


class Screen:
    """Listens to the run's events for the length of a `with` block."""

    def __init__(self, console: Console) -> None:
        self.console = console
        self._rows: dict[str, tuple[float, str, Spinner]] = {}
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
                self._rows[stage] = (time.monotonic(), "", Spinner("dots"))
            case Said(stage, line) if stage in self._rows:
                began, _, spinner = self._rows[stage]
                self._rows[stage] = (began, line, spinner)
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
        rows: list[Spinner | Text] = []
        for stage, (began, line, spinner) in list(self._rows.items()):
            spinner.update(text=Text(f"{stage:<44} {now - began:7.1f} s  {line[:LINE_WIDTH]}"))
            rows.append(spinner)
        total = f"{min(self._done, self._planned.stages)} of {self._planned.stages} stages" if self._planned.stages else "starting"
        return Group(*rows, Text(f"{total}, {now - self._began:.0f} s", style="dim"))
