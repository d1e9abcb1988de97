"""A stage that sleeps and writes its name.

TINY_LOG collects who ran when. TINY_CONTROL is a folder: while it holds <stage>.hold the stage waits, and <stage>.fail holds the exit
code to end with, or a signal's negative number.
"""

import json
import os
import signal
import sys
import time
from pathlib import Path

import yaml

CONTROL = Path(os.environ.get("TINY_CONTROL", "/nonexistent"))


def note(stage: str, what: str) -> None:
    """Add a line to the log of executions."""
    with Path(os.environ.get("TINY_LOG", os.devnull)).open("a") as log:
        log.write(f"{stage} {what} {time.time()} {os.getpid()}\n")


def fail_if_asked(stage: str) -> None:
    """End with the asked-for exit code, or by a signal where it is negative."""
    asked = CONTROL / f"{stage}.fail"
    if asked.exists():
        code = int(asked.read_text())
        if code < 0:
            os.kill(os.getpid(), signal.Signals(-code))
        sys.stderr.write(f"error: the input of {stage} is wrong\n")
        sys.exit(code)


def wait_while_held(stage: str) -> None:
    """Wait for as long as the test says so."""
    while (CONTROL / f"{stage}.hold").exists():
        time.sleep(0.05)


def end_slowly(*_: object) -> None:
    """What a stage with much to put away does on SIGTERM; the shell that DVC started it with is gone by then."""
    time.sleep(1)
    sys.exit(1)


def write(stage: str) -> None:
    """The model, the page, and for the report the summary."""
    model, page = Path("data/models") / stage / "model", Path(f"reports/stages/{stage}/{stage}.md")
    for path, text in ((model, stage), (page, f"# Page of {stage}\n")):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
    if stage == "report":
        Path("reports/summary.json").write_text(json.dumps(summary()))


def summary() -> dict:
    """One row, of the shape that the real report writes."""
    verdict = "reject" if yaml.safe_load(Path("params.yaml").read_text())["seed"] == 99 else "accept"
    estimate = {"value": 0.9, "ci": [0.8, 0.95]}
    row = {"variant": "q8", "target": "onnxruntime", "stage": "quantize", "method": "static", "source": "teacher"}
    share = estimate | {"unit": "fraction", "better": "higher"}
    drop = {"metric": "accuracy", **share, "relative": False}
    numbers = {"quality": {"accuracy": share}, "drop": drop, "size_bytes": 1, "size_ratio": 4.0}
    return {"schema": 1, "workload": "digits", "variants": [{**row, **numbers, "speed_ratio": {"batch_1": estimate}, "verdict": verdict}]}


if __name__ == "__main__":
    name, seconds = sys.argv[1], float(sys.argv[2])
    if (CONTROL / f"{name}.slow").exists():
        signal.signal(signal.SIGTERM, end_slowly)
    if (CONTROL / f"{name}.deaf").exists():
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
    note(name, "start")
    sys.stdout.write(f"{name} works\n")
    sys.stdout.flush()
    time.sleep(seconds)
    wait_while_held(name)
    fail_if_asked(name)
    try:
        write(name)
    except OSError as error:
        sys.exit(f"error: {error}")
    note(name, "end")
