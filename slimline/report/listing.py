"""Lists on the console, of releases and what happened to them: two lines a row, so that they fit 80 columns."""

from rich import box
from rich.console import Console
from rich.table import Table
from rich.text import Text

PIPE_COLUMNS = 160


def wide_console(*, markup: bool = False) -> Console:
    """The terminal as wide as it is; a log or a pipe wide enough for any table."""
    console = Console(markup=markup, highlight=markup)
    if not console.is_terminal:
        console.width = max(console.width, PIPE_COLUMNS)
    return console


def listing(identity: str, *others: str) -> Table:
    """An empty table whose first column is never cut, since what stands there is copied into other commands."""
    table = Table(box=box.SIMPLE_HEAD, show_edge=False, pad_edge=False, padding=0)
    table.add_column(identity, no_wrap=True, overflow="ignore")
    for name in others:
        table.add_column(name, overflow="fold")
    return table


def minute(at: str) -> str:
    """A time in ISO's form as a person reads it, without seconds."""
    return at[:16].replace("T", " ")


def two_lines(first: str, second: str) -> Text:
    """What one looks for, and below it what belongs to it."""
    return Text(first).append(f"\n{second}", style="dim")
