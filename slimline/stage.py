"""What all stage modules share: arguments, logging, fixed threads, exit codes and the way their results are written."""

import argparse
import functools
import logging
import os
import random
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import torch

from slimline.artifact.border import lacks_room, told_of_the_disk
from slimline.artifact.folder import write_json
from slimline.errors import OF_MACHINE, DiskError, MachineError, NotMade, ParamsError, SlimlineError, StageError
from slimline.objectives import metric_of
from slimline.params import Params
from slimline.workloads import get_workload
from slimline.workloads.border import through_their_code
from slimline.workloads.guarded import Guarded

log = logging.getLogger(__name__)
PARENT = "SLIMLINE_PARENT"
ORPHANED = 75


@dataclass(frozen=True)
class Stage:
    """One run of one stage module: which stage, which variant (none: "") and target, and the project's params."""

    name: str
    variant: str
    target: str | None
    params: Params
    given: Guarded | None = None
    """The workload, where the caller has it already."""

    @functools.cached_property
    def workload(self) -> Guarded:
        """The workload that params.yaml names."""
        return self.given or get_workload(self.params.workload)

    @property
    def label(self) -> str:
        """What the stage's files are called: the variant, the target, or variant-target."""
        return "-".join(part for part in (self.variant, self.target) if part)

    @property
    def metric(self) -> str:
        """The metric that the gate judges by.

        Raises:
            ParamsError: the objective has none of that name.
        """
        metric_of(self.workload.objective, self.params.gate.metric)
        return self.params.gate.metric

    @property
    def config(self) -> Any:
        """This variant's own entry in params.yaml."""
        section, config = self.params.variants.get(self.variant, (None, None))
        if section != self.name:
            there = ", ".join(getattr(self.params, self.name))
            raise ParamsError([f"params.yaml: no variant {self.variant!r} under {self.name}; there are: {there or 'none'}"])
        return config

    @property
    def metrics_path(self) -> Path:
        """What `dvc metrics show` lists."""
        return Path("reports/metrics") / self.name / f"{self.label}.json"

    @property
    def page_path(self) -> Path:
        """The stage's page, without the ending."""
        return Path("reports/stages") / self.name / self.label


def stage_main(
    name: str,
    run: Callable[[Stage], None],
    doc: str | None,
    argv: list[str] | None = None,
    *,
    per: str = "stage",
    on_miss: Callable[[Stage, StageError], None] | None = None,
) -> None:
    """Parse the command line, prepare the process, run the stage, and exit with the code that the outcome has.

    `per` says what one run makes: "stage" (no argument), "variant" (--variant), "target" (--target) or "pair" (--variant --target).
    `on_miss` writes what stands in the place of a variant that was not made: that is a result, and the code is 0. What a net's own code
    raises is told as its workload's.
    """
    parser = argparse.ArgumentParser(prog=f"python -m tasks.{name}", description=doc, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.set_defaults(variant=name if per == "stage" else "", target=None)
    if per in ("variant", "pair"):
        parser.add_argument("--variant", required=True, help="a name from params.yaml")
    if per in ("target", "pair"):
        parser.add_argument("--target", required=True, help="a runtime from deploy.targets")
    arguments = parser.parse_args(argv)
    _show_own_log_lines()
    _die_with_parent(os.environ.get(PARENT))
    try:
        with told_of_the_disk(name):
            params = Params.load()
            stage = Stage(name, arguments.variant, arguments.target, params)
            fix_randomness(params.seed)
            with through_their_code(params.workload):
                _run(stage, run, on_miss)
    except SlimlineError as error:
        for line in str(error).splitlines():
            log.error("error: %s", _located(line, name, arguments.variant))
        raise SystemExit(_exit_code(error)) from None
    except (MemoryError, RuntimeError) as error:
        if not lacks_room(error):
            raise
        log.error("error: %s: this machine has too little memory for it; lower its batch_size, or run fewer stages side by side", name)
        raise SystemExit(OF_MACHINE) from None


def _exit_code(error: SlimlineError) -> int:
    """The error's own, but where the machine failed and not the stage's work."""
    return OF_MACHINE if isinstance(error, MachineError | DiskError) or lacks_room(error) else error.exit_code


def _run(stage: Stage, run: Callable[[Stage], None], on_miss: Callable[[Stage, StageError], None] | None) -> None:
    try:
        run(stage)
    except StageError as error:
        if on_miss is None or lacks_room(error):
            raise
        is_located = isinstance(error, NotMade)
        on_miss(stage, error if is_located else StageError(_located(str(error), stage.name, stage.variant)))


def _located(line: str, stage: str, variant: str) -> str:
    """A method's `prune: …` as `prune.VARIANT: …`, where params.yaml sets it: methods do not know which variant they make.

    So a training's `training: …`.
    """
    if line.startswith("training: "):
        return f"{stage}: {line}" if variant == stage else f"{stage}.{variant}: {line}"
    for start in (f"{stage}: ", f"params.yaml: {stage}: "):
        if line.startswith(start) and variant != stage:
            return f"{start[:-2]}.{variant}: {line.removeprefix(start)}"
    return line


def _show_own_log_lines() -> None:
    """Milestones of our own modules; of every library, warnings."""
    logging.basicConfig(level=logging.WARNING, format="%(message)s", stream=sys.stderr)
    for name in ("__main__", "slimline", "tasks"):
        logging.getLogger(name).setLevel(logging.INFO)


def fix_randomness(seed: int, *, threads: int = 1) -> None:
    """Seed every generator, ask torch for deterministic kernels and fix its threads: same inputs, same bytes."""
    random.seed(seed)
    np.random.seed(seed)
    torch.manual_seed(seed)
    torch.set_deterministic_debug_mode("error")  # use_deterministic_algorithms(True) without its import of inductor: 2 s
    torch.set_num_threads(threads)


def write_metrics(stage: Stage, metrics: dict[str, Any]) -> None:
    """Write the stage's metrics file."""
    write_json(stage.metrics_path, metrics)


def _die_with_parent(parent: str | None) -> None:
    """End this process when the flow that started it ("pid:create_time") is gone, so that no stage outlives its run."""
    if not parent:
        return
    pid, born = parent.split(":")

    def watch() -> None:
        while _is_alive(int(pid), float(born)):
            time.sleep(1)
        os._exit(ORPHANED)

    threading.Thread(target=watch, daemon=True).start()


def _is_alive(pid: int, born: float) -> bool:
    try:
        return abs(psutil.Process(pid).create_time() - born) < 1
    except psutil.Error:
        return False
