"""How the outcome of a run, a search or a bisection is told on the terminal."""

import json
import sys
import time

import psutil
from rich.console import Console
from rich.table import Table

from flows.bisected import Bisected
from flows.results import Outcome
from flows.searched import Searched
from flows.terminal import Terminal
from slimline.nights.attribution import shown
from slimline.report.listing import PIPE_COLUMNS


def show(outcome: Outcome | Searched | Bisected, console: Console) -> None:
    """The table of results, what failed, where the report is, and how long it took."""
    if isinstance(outcome, Searched):
        show_search(outcome, console)
        return
    if isinstance(outcome, Bisected):
        show_bisected(outcome, console)
        return
    if outcome.summary is not None:
        from slimline.report.console import results_table

        console.print(results_table(dict(outcome.summary), dict(outcome.releases) if outcome.releases else None))
    console.print(outcome.message, style="red" if outcome.exit_code else "green")
    if outcome.experiment:
        console.print(f"saved as experiment {outcome.experiment}: dvc exp apply {outcome.experiment}")
    if outcome.summary is not None:
        console.print(f"report: {outcome.index}", soft_wrap=True)
    console.print(f"{time.time() - psutil.Process().create_time():.1f} s")


def show_search(searched: Searched, console: Console) -> None:
    """What the search found, where its page is, and how to take over what it found."""
    console.print(searched.message, style="red" if searched.exit_code else "green")
    console.print(f"page: {searched.page}", soft_wrap=True)
    if searched.accepted:
        console.print(f"entries for params.yaml: {searched.folder / 'found.yaml'}", soft_wrap=True)
    console.print(f"{searched.seconds:.1f} s")


def show_bisected(bisected: Bisected, console: Console) -> None:
    """What differs, each change with what it came to in the runs that were made, and where it comes from."""
    for line in bisected.differs:
        console.print(line, style="dim", markup=False, highlight=False)
    for line in bisected.fixed:
        console.print(f"not swapped here: {line}", markup=False, highlight=False)
    for cell, reason in bisected.failed.items():
        console.print(f"not made: {cell}: {reason}", style="red", markup=False, highlight=False)
    table = Table("variant-target", "figure", "A", "B", *(cell.name for cell in bisected.made), "comes from", "since")
    for one in bisected.findings:
        known = (one.moved.before, one.moved.after, *one.values.values())
        table.add_row("-".join(one.moved.pair), one.moved.name, *map(shown, known), one.cause, one.why)
    console.print(table)
    console.print(bisected.message, style="red" if bisected.exit_code else "green")
    console.print(f"{bisected.seconds:.1f} s")


def console_of(*, to_stderr: bool) -> Console:
    """The terminal as wide as it is; a log or a pipe wide enough for the table."""
    console = Terminal(stderr=to_stderr)
    return console if console.is_terminal else Terminal(stderr=to_stderr, width=max(console.width, PIPE_COLUMNS))


def print_json(outcome: Outcome | Searched | Bisected) -> None:
    """The outcome for a machine, on standard output."""
    sys.stdout.write(json.dumps(outcome.as_json(), indent=2) + "\n")
    sys.stdout.flush()
