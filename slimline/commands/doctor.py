"""`slimline doctor`: look at everything a run stands on, and say what to do where something is off."""

import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Annotated

import psutil
import typer
from rich.console import Console

from slimline.commands.check import checked_params, lacking
from slimline.errors import InputError, ParamsError, SlimlineError
from slimline.params import TARGETS, Params
from slimline.params.yaml_file import read_yaml
from slimline.project import find_project

MIN_DISK_BYTES = 2 << 30
MIN_MEMORY_BYTES = 3 << 30
COMMAND_SECONDS = 60


@dataclass(frozen=True)
class Examined:
    """One thing that was looked at: whether it is well, what was seen and what to do about it."""

    name: str
    ok: bool
    seen: str
    advice: str = ""


def doctor(
    as_json: Annotated[bool, typer.Option("--json", help="Print every finding for a machine.")] = False,
) -> None:
    """Check git, DVC, the S3 store, disk, memory, devices and versions; say what to do. Ends with 1 if something is off.

    Example: `slimline doctor`
    """
    root = find_project()
    found = list(examine(root))
    if as_json:
        sys.stdout.write(json.dumps([asdict(one) for one in found], indent=2) + "\n")
    else:
        console = Console()
        for one in found:
            console.print(
                f"[green]ok[/]   {one.name}: {one.seen}" if one.ok else f"[red]off[/]  {one.name}: {one.seen}\n     -> {one.advice}"
            )
    if not all(one.ok for one in found):
        raise typer.Exit(1)


def examine(root: Path) -> Iterator[Examined]:
    """Look at each thing in turn."""
    looks: tuple[Callable[[Path], Examined], ...] = (
        _params,
        _targets,
        _git,
        _dvc,
        _dvc_lock,
        _remote,
        _store,
        _disk,
        _memory,
        _cpu,
        _gpu,
        _versions,
    )
    for look in looks:
        yield look(root)


def _params(root: Path) -> Examined:
    try:
        params = checked_params(root)
    except InputError as error:
        return Examined(
            "params.yaml", False, str(error).replace("\n", "; "), "mend it; `slimline check` shows each mistake on its own line"
        )
    return Examined("params.yaml", True, f"{len(params.variants)} variants of workload {params.workload}")


def _targets(root: Path) -> Examined:
    """The packages and programs that the deployed targets need; of the other targets, what they would need."""
    try:
        deployed: tuple[str, ...] = Params.load(root / "params.yaml").deploy.targets
    except ParamsError:
        deployed = ()
    needs = {target: lacking(target) for target in TARGETS}
    broken = [f"{target} lacks {what}" for target in deployed for what in needs[target]]
    others = [f"{target} would need {' and '.join(needs[target])}" for target in TARGETS if target not in deployed and needs[target]]
    installs = [install for target in deployed for install in needs[target].values()]
    seen = "; ".join((*broken, *([] if broken else [", ".join(deployed) or "none readable"]), *others))
    return Examined("targets", not broken, seen, f"{'; '.join(installs)}; or remove the target from params.yaml: deploy.targets")


def _git(root: Path) -> Examined:
    code, text = _output(root, "git", "rev-parse", "HEAD")
    if code:
        return Examined("git", False, text or "not a git repository with a commit", "git init && git add -A && git commit -m 'first'")
    return Examined("git", True, f"commit {text[:12]}")


def _dvc(root: Path) -> Examined:
    code, text = _output(root, sys.executable, "-m", "dvc", "stage", "list", "--name-only")
    if code:
        return Examined(
            "dvc", False, text.splitlines()[-1] if text else "cannot read dvc.yaml", "run `dvc stage list` and mend what it names"
        )
    return Examined("dvc", True, f"{len(text.splitlines())} stages")


def _dvc_lock(root: Path) -> Examined:
    path = root / "dvc.lock"
    if not path.exists():
        return Examined("dvc.lock", True, "none yet: nothing has run here")
    try:
        whole = isinstance(read_yaml(path), dict)
    except InputError:
        whole = False
    if not whole:
        return Examined("dvc.lock", False, "torn (a crash can do that)", "`make run` heals it, or: git checkout dvc.lock")
    return Examined("dvc.lock", True, "whole")


def _remote(root: Path) -> Examined:
    code, text = _output(root, sys.executable, "-m", "dvc", "remote", "list")
    if code or not text:
        return Examined("dvc remote", False, text or "none", "dvc remote add --default store s3://slimline/dvc")
    return Examined("dvc remote", True, " ".join(text.split()))


def _store(root: Path) -> Examined:
    from slimline.storage.probe import probe_store

    try:
        seen = probe_store(root, checked_params(root).publish)
    except SlimlineError as error:
        return Examined(
            "S3 store",
            False,
            str(error).replace("\n", "; "),
            "set AWS_ENDPOINT_URL, AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or unset all for the embedded one",
        )
    return Examined("S3 store", True, seen)


def _disk(root: Path) -> Examined:
    free = shutil.disk_usage(root).free
    return Examined(
        "disk",
        free >= MIN_DISK_BYTES,
        f"{free / 2**30:.1f} GiB free",
        "free some: a run needs 2 GiB; `dvc gc -w` drops what no params.yaml uses",
    )


def _memory(_root: Path) -> Examined:
    free = psutil.virtual_memory().available
    return Examined("memory", free >= MIN_MEMORY_BYTES, f"{free / 2**30:.1f} GiB available", "end other programs, or run with --jobs 1")


def _cpu(_root: Path) -> Examined:
    info = Path("/proc/cpuinfo")
    flags = set(info.read_text(encoding="utf-8").split()) if info.exists() else set()
    have = [flag for flag in ("avx2", "avx512_vnni", "avx_vnni", "amx_int8", "amx_bf16") if flag in flags]
    seen = f"{os.cpu_count()} cores, {', '.join(have) or 'no AVX2'}"
    fast = bool({"avx512_vnni", "avx_vnni", "amx_int8"} & set(have))
    return Examined("cpu", True, seen + ("" if fast else "; without VNNI and AMX int8 gains less, the report will show it"))


def _gpu(_root: Path) -> Examined:
    """What `device: auto` means here."""
    import torch

    from slimline.training.device import why_no_gpu

    if reason := why_no_gpu():
        return Examined("gpu", True, f"none: {reason}; device: auto is the CPU")
    names = [torch.cuda.get_device_name(index) for index in range(torch.cuda.device_count())]
    return Examined("gpu", True, f"{', '.join(names)} (CUDA {torch.version.cuda}); device: auto trains there")


def _versions(_root: Path) -> Examined:
    wanted = {"torch": "2.13.", "prefect": "3.8.", "dvc": "3.", "onnxruntime": "1.31.", "openvino": "2026.4.", "sqlalchemy": "2.0."}
    found = {name: _version(name) for name in wanted}
    off = [
        f"{name} {found[name] or 'missing'} (wanted {start}x)"
        for name, start in wanted.items()
        if not (found[name] or "").startswith(start)
    ]
    seen = ", ".join(f"{name} {value}" for name, value in found.items())
    return Examined("versions", not off, "; ".join(off) or seen, "make setup: it installs constraints.txt")


def _version(name: str) -> str | None:
    try:
        return version(name)
    except PackageNotFoundError:
        return None


def _output(root: Path, *command: str) -> tuple[int, str]:
    try:
        done = subprocess.run(command, cwd=root, capture_output=True, text=True, timeout=COMMAND_SECONDS, check=False)
    except (FileNotFoundError, subprocess.TimeoutExpired) as error:
        return 1, str(error)
    return done.returncode, (done.stdout if done.returncode == 0 else done.stderr).strip()
