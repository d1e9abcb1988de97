"""Stage `look`: everything that params.yaml asks for, tried in seconds on the untrained net, before an hour is spent on training it.

in      data/prepared/{validation.arrow,manifest.json}
out     data/look.json, which is the same whenever all of it works, so that nothing behind this stage runs again because of it
params  workload, seed, model, prune, quantize, factorize, distill, deploy, evaluate, gate.metric

docs/decisions/0014-look-before-you-train.md says what is tried, and why so.
"""

import json
import logging
import os
import re
import signal
import subprocess
import sys
import tempfile
import threading
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from slimline.artifact.folder import write_json
from slimline.calibration.trials import LATER, REFUSED, WORKS, Trial, refusals
from slimline.errors import ParamsError
from slimline.report.page import StagePage, Table, write_page
from slimline.stage import Stage, stage_main
from tasks.lengths import breach
from tasks.untrained import Untrained, shallow, untrained

log = logging.getLogger(__name__)
MARK = Path("data/look.json")
NAMED = re.compile(r"[\w.]*(Error|Exception|Exit|Interrupt): ")
"""How the last line of a traceback begins."""
TRIAL_S = 300.0
"""How long one trial of a target may take; the first has the imports of its runtime in it."""
TRIAL = '{"what"'
"""How the line of a trial begins; compilers print others."""
NET = "the net of build_teacher(): copied, stored, built again, called alone and in a batch"

SHALLOW = "The net is large and its layers are alike: a few of them stood for all."


def looked(stage: Stage, *, compiles: bool = True) -> list[Trial]:
    """All trials; of a net that cannot be followed itself, that one alone. Targets are tried beside each other, in their own processes."""
    targets = stage.params.deploy.targets if compiles else ()
    began, found = time.perf_counter(), untrained(stage)
    if problems := (*breach(found.signature, stage.params.evaluate.lengths), *found.problems(stage.workload)):
        return [Trial(NET, REFUSED, "\n".join(problems), time.perf_counter() - began)]
    own = Trial(NET, WORKS, "", time.perf_counter() - began)
    with ThreadPoolExecutor(max(1, min(len(targets), os.cpu_count() or 1))) as pool:
        exports = pool.map(exported, targets)
        variants = tried_variants(stage, found)
        return [own, *variants, *(trial for trials in exports for trial in trials)]


def tried_variants(stage: Stage, found: Untrained) -> list[Trial]:
    """Every variant's method on the untrained net."""
    return [trial for trial, _, _ in found.trials.of(stage.params.variants, found.teacher)]


def exported(target: str) -> list[Trial]:
    """The trials of a target, by a process of its own; one that dies is refused with what it said last, one that hangs is ended."""
    command, began, found = [sys.executable, "-m", "tasks.exports", "--target", target], time.perf_counter(), list[Trial]()
    with tempfile.TemporaryFile("w+") as said:
        with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=said, text=True) as process:
            assert process.stdout is not None
            while line := _within(TRIAL_S, process):
                if line.startswith(TRIAL):
                    found.append(Trial(**json.loads(line)))
        said.seek(0)
        told = last_words(said.readlines())
    seconds, place = time.perf_counter() - began, f"deploy.targets.{target}"
    if process.returncode == 0:
        return found
    if line is None:
        return [*found, Trial(place, LATER, f"a trial took more than {TRIAL_S:g} s and was ended; its stage will tell", seconds)]
    how = signal.Signals(-process.returncode).name if process.returncode < 0 else f"code {process.returncode}"
    text = f"params.yaml: deploy.targets: {target!r}: compiling the untrained net ended with {how}: {told}; take it out, or change the net"
    return [*found, Trial(place, REFUSED, text, seconds)]


def _within(seconds: float, process: "subprocess.Popen[str]") -> str | None:
    """The next line of a process, empty at its end; None where it took too long: it was killed."""
    assert process.stdout is not None
    late = threading.Event()

    def end() -> None:
        late.set()
        process.kill()

    watch = threading.Timer(seconds, end)
    watch.start()
    line = process.stdout.readline()
    watch.cancel()
    return None if late.is_set() else line


def last_words(lines: list[str]) -> str:
    """What a process said of its end: our own line, else that of the last error, else its last line, in at most 300 characters."""
    told = [line for line in lines if line.strip()]
    errors = [line for line in told if line.startswith("error: ")] or [line for line in told if NAMED.match(line)]
    return (errors or told or ["nothing"])[-1].removeprefix("error: ").strip()[:300]


def page(trials: list[Trial], *, is_shallow: bool) -> StagePage:
    """What was tried; no times, so that equal trials give equal pages."""
    rows = tuple((trial.what, trial.outcome, trial.said) for trial in trials)
    return StagePage(
        stage="look",
        variant="look",
        title="A look before training",
        summary=(f"{len(trials)} trials on the untrained net, with a few real samples: nothing that params.yaml asks for is impossible.",),
        comparison=(),
        tables=(Table("Tried", ("what", "outcome", "what was said"), rows),),
        notes=(
            "A method is tried at its strength with one step of training. What its values bring is for its own stage to find.",
            *([SHALLOW] if is_shallow else []),
        ),
    )


def main(stage: Stage) -> None:
    """Try all of it; write the mark and the page.

    Raises:
        ParamsError: with all that cannot work.
    """
    tried = shallow(stage)
    trials = looked(tried)
    if problems := refusals(trials):
        raise ParamsError(problems)
    write_json(MARK, {"schema": 1})
    write_page(page(trials, is_shallow=tried is not stage), stage.page_path)
    log.info("look: %d trials, nothing that cannot work", len(trials))


if __name__ == "__main__":
    stage_main("look", main, __doc__)
