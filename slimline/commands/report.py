"""`slimline report`: where the report is."""

import json
import sys
import webbrowser
from typing import Annotated

import typer

from slimline.errors import InputError
from slimline.project import find_project


def report(
    open_page: Annotated[bool, typer.Option("--open/--no-open", help="Open it in the browser, where there is one.")] = True,
    as_json: Annotated[bool, typer.Option("--json", help="Print {report, summary} for a machine; opens nothing.")] = False,
) -> None:
    """Print the path of the decision page, and open it where there is a browser.

    Example: `slimline report --no-open`
    """
    page = find_project() / "reports" / "index.html"
    if not page.is_file():
        raise InputError(f"{page}: not there yet; run `make run` or `dvc repro`, or fetch it with `slimline s3 -- dvc pull`")
    if as_json:
        sys.stdout.write(json.dumps({"report": str(page), "summary": str(page.with_name("summary.json"))}) + "\n")
        return
    sys.stdout.write(f"{page}\n")
    if open_page and sys.stdout.isatty():
        webbrowser.open(page.as_uri())
