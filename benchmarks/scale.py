"""Does the line's cost stay in bounds as pictures become many? Memory and time of every stage on folders of 96x96 JPEGs.

    python benchmarks/scale.py --counts 1000,10000,50000 --out /tmp/scale

Makes the folders (smooth random pictures of four classes, so that nothing has to be fetched), runs the stages one by one in fresh
processes, and writes scale.md: peak memory of each stage by the number of pictures and its growth over the smallest number, milliseconds
a picture of the stage `data` without the start of its process, and the training's pictures a second beside a plain PyTorch loop over the
same reader, net, augmentation and optimizer (epochs of both in turns, training alone). The figures of each number are kept in foundN.json:
scale.md shows all that the folder holds.
"""

import argparse
import json
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from statistics import median

import numpy as np
import yaml
from PIL import Image
from rich.progress import track

from slimline.measure.machine import fingerprint

PROJECT = Path(__file__).resolve().parents[1]
SIDE, CLASSES, BATCH = 96, 4, 64
SEEN = 6_000
"""Pictures that a teacher is trained on at least, epoch after epoch: of fewer it learns nothing, and the stages end there."""
TURNS = 3
STAGES = (
    ("data", "tasks.data"),
    ("teacher", "tasks.teacher"),
    ("calibrate", "tasks.calibrate"),
    ("int8", "tasks.quantize", "--variant", "int8"),
    ("compile", "tasks.compile", "--variant", "int8", "--target", "onnxruntime"),
    ("evaluate", "tasks.evaluate", "--variant", "int8", "--target", "onnxruntime"),
)


def draw_folder(folder: Path, count: int) -> None:
    """So many JPEGs, smooth and random, brighter by class; what is there already stays."""
    draw = np.random.default_rng(0)
    for number in track(range(count), f"{count} pictures", disable=not sys.stderr.isatty()):
        label = number % CLASSES
        path = folder / f"class{label}" / f"{number:06}.jpg"
        coarse = draw.integers(0, 120, (8, 8, 3), dtype=np.uint8)
        if path.exists():
            continue
        path.parent.mkdir(parents=True, exist_ok=True)
        shade = (coarse + np.uint8(40 * label)).clip(0, 255).astype(np.uint8)
        Image.fromarray(shade).resize((SIDE, SIDE), Image.Resampling.BICUBIC).save(path, quality=85)


def params_of(folder: Path, count: int) -> dict[str, object]:
    """A short run on a folder."""
    return {
        "workload": "images",
        "seed": 0,
        "data": {"path": str(folder), "image_size": SIDE, "test_fraction": 0.2, "validation_fraction": 0.1, "calibration_samples": 128},
        "model": {"path": "workloads", "config": {"widths": [4, 8, 16, 32]}},
        "teacher": {"source": "train", "epochs": max(1, SEEN // count), "batch_size": BATCH, "threads": 1},
        "calibrate": {"samples": 128, "batch_size": 32},
        "quantize": {"int8": {"source": "teacher", "method": "static"}},
        "deploy": {"variants": ["teacher", "int8"], "targets": ["onnxruntime"]},
        "gate": {"metric": "accuracy", "max_drop": 0.02},
    }


@dataclass(frozen=True)
class Found:
    """What was measured at one number of pictures: of the stage data, its start left out; stage -> its peak memory; pictures a second of
    the line and of the plain loop."""

    data_seconds: float
    data_cpu_seconds: float
    memory_mb: Mapping[str, float]
    throughput: Mapping[str, float]


def in_project(project: Path) -> dict[str, object]:
    """How a process is started that works in a project."""
    return {"cwd": project, "env": {**os.environ, "PYTHONPATH": str(PROJECT)}}


def measured(project: Path, *command: str) -> tuple[float, float, float]:
    """A module's run in a fresh process: seconds, CPU seconds, and its peak memory in MB or that of its largest worker process."""
    began = time.monotonic()
    process = subprocess.Popen([sys.executable, "-m", *command], stdout=subprocess.DEVNULL, **in_project(project))
    _, status, usage = os.wait4(process.pid, 0)
    if status:
        raise SystemExit(f"{' '.join(command)} ended with {os.waitstatus_to_exitcode(status)}")
    return time.monotonic() - began, usage.ru_utime + usage.ru_stime, usage.ru_maxrss / 1000


def throughput(project: Path) -> dict[str, float]:
    """Pictures a second of the line's training and of a plain loop."""
    command = [sys.executable, str(PROJECT / "benchmarks/scale_training.py"), "--turns", str(TURNS)]
    told = subprocess.run(command, **in_project(project), check=True, stdout=subprocess.PIPE, text=True)
    found: dict[str, float] = json.loads(told.stdout)
    return found


def found_at(out: Path, count: int) -> Found:
    """Everything at one number of pictures."""
    folder, project = out / f"pictures{count}", out / f"project{count}"
    draw_folder(folder, count)
    shutil.rmtree(project, ignore_errors=True)
    (project / "reports").mkdir(parents=True)
    shutil.copytree(PROJECT / "reports/templates", project / "reports/templates")
    (project / "params.yaml").write_text(yaml.safe_dump(params_of(folder, count)))
    runs = {name: measured(project, *command) for name, *command in STAGES}
    print(f"{count:,} pictures: " + ", ".join(f"{name} {run[0]:.1f} s, {run[2]:.0f} MB" for name, run in runs.items()), flush=True)
    starts = [measured(project, "tasks.data", "--help") for _ in range(TURNS)]
    spent = (runs["data"][place] - median(start[place] for start in starts) for place in (0, 1))
    return Found(*spent, {name: run[2] for name, run in runs.items()}, throughput(project))


def table(found: Mapping[int, Found]) -> Iterator[str]:
    """The lines of scale.md."""
    counts = sorted(found)
    yield "| | " + " | ".join(f"{count:,} pictures" for count in counts) + " | most growth |"
    yield "|:--|" + "--:|" * (len(counts) + 1)
    for name, *_ in STAGES:
        sizes = [found[count].memory_mb[name] for count in counts]
        cells = " | ".join(f"{size:.0f}" for size in sizes)
        yield f"| peak memory of {name}, MB | {cells} | {max(sizes) / sizes[0] - 1:+.1%} |"
    yield "| data, ms a picture | " + " | ".join(f"{1000 * found[count].data_seconds / count:.2f}" for count in counts) + " | |"
    yield "| data, CPU ms a picture | " + " | ".join(f"{1000 * found[count].data_cpu_seconds / count:.2f}" for count in counts) + " | |"
    for name, words in (("line", "training, pictures a second"), ("plain", "a plain loop, pictures a second")):
        yield f"| {words} | " + " | ".join(f"{found[count].throughput[name]:,.0f}" for count in counts) + " | |"
    shares = [found[count].throughput["line"] / found[count].throughput["plain"] for count in counts]
    yield "| training beside the plain loop | " + " | ".join(f"{share:.2f}" for share in shares) + " | |"
    known = fingerprint()
    yield f"\n{known['cpu']}, {known['cores']} cores, {known['memory_gib']} GiB; torch {known['versions']['torch']}."


def main() -> None:
    """Measure and write the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--counts", default="1000,10000,50000")
    parser.add_argument("--out", type=Path, required=True)
    arguments = parser.parse_args()
    for count in sorted(int(one) for one in arguments.counts.split(",")):
        found = found_at(arguments.out, count)
        (arguments.out / f"found{count}.json").write_text(json.dumps(asdict(found)))
        kept = {int(path.stem.removeprefix("found")): Found(**json.loads(path.read_text())) for path in arguments.out.glob("found*.json")}
        (arguments.out / "scale.md").write_text("\n".join(table(kept)) + "\n")
    print((arguments.out / "scale.md").read_text())


if __name__ == "__main__":
    main()
