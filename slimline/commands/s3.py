"""`slimline s3`: the store that this project uses, and any command run against it."""

import json
import os
import signal
import subprocess
import sys
import sysconfig
from dataclasses import asdict
from pathlib import Path
from types import FrameType
from typing import Annotated

import typer

from slimline.errors import InputError
from slimline.params import Params, PublishParams
from slimline.project import find_project


def s3(
    command: Annotated[
        list[str] | None, typer.Argument(help="Run this against the store; nothing: show the store.", show_default=False)
    ] = None,
    up: Annotated[bool, typer.Option("--up", help="Start the embedded server and keep it up.")] = False,
    down: Annotated[bool, typer.Option("--down", help="End --up; the server stops when nobody uses it.")] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print the state for a machine.")] = False,
) -> None:
    """Show the S3 store, or run a command with AWS_ENDPOINT_URL and keys set; the embedded server is up meanwhile.

    The command's exit code is passed on. The keys lie in .slimline/s3/s3.json, readable by you alone.

    Example: `slimline s3 -- dvc push --run-cache`
    """
    from slimline.storage.server import hold_server, release_server

    root = find_project()
    publish = Params.load(root / "params.yaml").publish
    if sum(map(bool, (command, up, down))) > 1:
        raise InputError("slimline s3: --up, --down and a command exclude each other; give one")
    if command:
        raise typer.Exit(run_with_store(root, publish, command))
    if up:
        hold_server(root, publish)
    elif down:
        release_server(root)
    show_store(root, publish, as_json)


def run_with_store(root: Path, publish: PublishParams, command: list[str]) -> int:
    """Run a command with the store's environment; returns its exit code (128 + n where signal n ended it).

    Raises:
        InputError: there is no such program.
    """
    from slimline.storage.server import store_environment

    programs = f"{sysconfig.get_path('scripts')}{os.pathsep}{os.environ.get('PATH', os.defpath)}"
    with store_environment(root, publish) as added:
        try:
            process = subprocess.Popen(command, env=os.environ | {"PATH": programs, "DVC_NO_ANALYTICS": "1"} | added)
        except OSError as error:
            raise InputError(f"slimline s3: {command[0]!r} cannot be run ({error.strerror}); check its name") from None
        code = _wait(process)
    return code if code >= 0 else 128 - code


def show_store(root: Path, publish: PublishParams, as_json: bool) -> None:
    """Print where the store is and who keeps it up; keys are never printed."""
    from slimline.storage.server import server_state

    state = server_state(root, publish)
    if as_json:
        sys.stdout.write(json.dumps(asdict(state) | {"folder": str(state.folder) if state.folder else None}, indent=2) + "\n")
    elif not state.embedded:
        sys.stdout.write(f"your own S3 at {state.endpoint}, bucket {state.bucket}; `slimline doctor` tries it out\n")
    else:
        users = ", ".join("`--up` or `make up`" if user == "hold" else f"process {user.partition(':')[0]}" for user in state.users)
        running = f"up at {state.endpoint}, used by {users or 'nobody'}" if state.running else "not running; commands that need it start it"
        sys.stdout.write(f"embedded S3 server: {running}\nbucket {state.bucket}, {state.stored_bytes:,} bytes in {state.folder}\n")


def _wait(process: subprocess.Popen[bytes]) -> int:
    def pass_on(number: int, _frame: FrameType | None) -> None:
        process.send_signal(number)

    before = signal.signal(signal.SIGTERM, pass_on)
    try:
        while True:
            try:
                return process.wait()
            except KeyboardInterrupt:  # the terminal has sent it to the command, too
                continue
    finally:
        signal.signal(signal.SIGTERM, before)
