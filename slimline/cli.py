"""The command `slimline`. Imports nothing heavy: each command imports what it needs when it runs."""

import logging
import os
import sys

import typer

from slimline import __version__
from slimline.artifact.border import told_of_the_disk
from slimline.commands.bisect import bisect
from slimline.commands.check import check
from slimline.commands.compare import compare
from slimline.commands.doctor import doctor
from slimline.commands.export_gguf import export_gguf
from slimline.commands.export_hf import export_hf
from slimline.commands.gc import gc
from slimline.commands.history import history
from slimline.commands.import_gguf import import_gguf
from slimline.commands.init import init
from slimline.commands.methods import methods
from slimline.commands.predict import predict
from slimline.commands.promote import promote
from slimline.commands.publish import publish
from slimline.commands.releases import releases
from slimline.commands.report import report
from slimline.commands.rollback import rollback
from slimline.commands.run import run
from slimline.commands.s3 import s3
from slimline.commands.search import search
from slimline.commands.send import send
from slimline.commands.serve import serve
from slimline.commands.status import status
from slimline.commands.verify import verify
from slimline.commands.workloads import workloads
from slimline.errors import SlimlineError

PASS_ON = {"ignore_unknown_options": True, "allow_extra_args": True, "allow_interspersed_args": False}

app = typer.Typer(name="slimline", no_args_is_help=True, pretty_exceptions_enable=False, rich_markup_mode="markdown")
for command in (
    init,
    check,
    run,
    send,
    status,
    search,
    publish,
    doctor,
    workloads,
    methods,
    compare,
    history,
    bisect,
    releases,
    promote,
    rollback,
    gc,
    verify,
    predict,
    serve,
    report,
    export_hf,
    import_gguf,
    export_gguf,
):
    app.command()(command)
app.command(context_settings=PASS_ON)(s3)


@app.callback(invoke_without_command=True)
def slimline(version: bool = typer.Option(False, "--version", help="Print the version and stop.")) -> None:
    """The nightly compression line for PyTorch models: smaller, faster, and honest about it."""
    if version:
        sys.stdout.write(f"slimline {__version__}\n")
        raise typer.Exit


def main() -> None:
    """Run a command; a foreseen error, or the system's refusal, is one line for each problem and its exit code."""
    logging.basicConfig(level=logging.INFO, format="%(message)s", stream=sys.stderr)
    logging.getLogger("botocore").setLevel(logging.WARNING)
    try:
        with told_of_the_disk("standard output"):
            _run()
    except SlimlineError as error:
        for line in str(error).splitlines():
            sys.stderr.write(f"error: {line}\n")
        raise SystemExit(error.exit_code) from None


def _run() -> None:
    """A command, and what it printed brought out, while somebody still hears that it could not be."""
    try:
        app()
    finally:
        try:
            sys.stdout.flush()
        except OSError:
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # or Python tries again at its end
            raise
