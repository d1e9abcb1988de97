"""`slimline methods`: every compression method, what it is like and when to use it; with a name, that method's options."""

import difflib
import json
import sys
from collections.abc import Mapping
from dataclasses import asdict
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from slimline.commands.methods_test import methods_test
from slimline.commands.options import options
from slimline.errors import InputError
from slimline.params import CONFIGS, VariantParams
from slimline.report.listing import wide_console

PAGES = {
    "prune": "docs/methods/pruning.md",
    "quantize": "docs/methods/quantization.md",
    "factorize": "docs/methods/low-rank.md",
    "distill": "docs/methods/distillation.md",
}
"""Stage -> the page that explains its methods, one section each."""

Name = Annotated[str | None, typer.Argument(metavar="[NAME]", help="A method, to see its options; or test.", show_default=False)]
File = Annotated[str | None, typer.Argument(metavar="[FILE]", help="For test: a file of your own methods.", show_default=False)]
AsJson = Annotated[bool, typer.Option("--json", help="Print it for a machine.")]


def methods(name: Name = None, file: File = None, as_json: AsJson = False) -> None:
    """List the methods by stage with a one-line judgement, or one method with its options; `test FILE` holds your own to the contract.

    Example: `slimline methods static`, `slimline methods test methods/mine.py`
    """
    if name == "test":
        methods_test(file)
        return
    if file is not None:
        raise InputError(f"methods: {file!r} is one name too many; only `slimline methods test FILE` takes a file")
    known = [(stage, method, config) for stage, configs in CONFIGS.items() for method, config in configs.items()]
    chosen = [entry for entry in known if name in (None, entry[1])]
    if not chosen:
        raise InputError(_unknown(str(name), [method for _, method, _ in known]))
    rows = [declared(*entry) for entry in chosen]
    if as_json:
        detailed = [row | {"options": [asdict(option) for option in options(entry[2])]} for row, entry in zip(rows, chosen, strict=True)]
        sys.stdout.write(json.dumps(rows if name is None else detailed[0], indent=2) + "\n")
        return
    console = wide_console(markup=True)
    if name is None:
        console.print(_overview(rows))
        return
    for row, entry in zip(rows, chosen, strict=True):
        _show(console, row, entry[2])


def declared(stage: str, name: str, config: type[VariantParams]) -> dict[str, Any]:
    """What a method's config says of it, as plain data."""
    return {
        "stage": stage,
        "method": name,
        "needs_data": config.needs_data,
        "needs_labels": config.needs_labels,
        "changes_shape": config.changes_shape,
        "may_follow": sorted(config.may_follow),
        "impossible_on": dict(config.impossible_on),
        "judgement": config.judgement,
        "page": f"{PAGES[stage]}#{name}" if stage in PAGES else None,
    }


def _unknown(name: str, known: list[str]) -> str:
    close = difflib.get_close_matches(name, known, n=1)
    meant = f"did you mean {close[0]!r}? (known: {', '.join(known)})" if close else f"known: {', '.join(known)}"
    return f"methods: no method {name!r}; {meant}"


def _overview(rows: list[dict[str, Any]]) -> Table:
    table = Table("stage", "method", "data", "shapes", "when to use it")
    for row in rows:
        table.add_row(row["stage"], row["method"], _reads(row), "change" if row["changes_shape"] else "stay", escape(row["judgement"]))
    return table


def _reads(row: Mapping[str, Any]) -> str:
    """What a method reads of the samples."""
    return "labels" if row["needs_labels"] else "inputs" if row["needs_data"] else "none"


def _show(console: Console, row: dict[str, Any], config: type[VariantParams]) -> None:
    facts = {
        "method": f"{row['stage']}: {row['method']}",
        "what": " ".join((config.__doc__ or "").split()),
        "when": row["judgement"],
        "data": {"labels": "reads samples and their labels", "inputs": "reads samples, no labels", "none": "reads none"}[_reads(row)],
        "shapes": "layers get other shapes" if row["changes_shape"] else "every layer keeps its shape",
        "may follow": ", ".join(row["may_follow"]),
        "not on": "; ".join(f"{target}: {why}" for target, why in row["impossible_on"].items()) or "it runs on every target",
        "more": row["page"] or "the docstring of its module",
    }
    for label, text in facts.items():
        console.print(f"[bold]{label:11}[/]{escape(text)}", highlight=False, soft_wrap=True)
    table = Table("option", "type", "default", "what it does")
    for option in options(config):
        table.add_row(*map(escape, (option.name, option.type, option.default, option.description)))
    console.print(table)
