"""The option by which a command is told whose code reads an artifact: never the artifact's own."""

from typing import Annotated

import typer

OwnWorkload = Annotated[
    str | None, typer.Option(help="Your own copy of a workload that is not bundled: path/to/file.py:ClassName, or its name.")
]
