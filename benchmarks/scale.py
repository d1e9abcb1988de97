"""Does the line's cost stay in bounds as pictures become many? Memory and time of every stage on folders of 96x96 JPEGs.

    python benchmarks/scale.py --counts 1000,10000,50000 --out /tmp/scale

Makes the folders (smooth random pictures of four classes, so that nothing has to be fetched), runs the stages one by one in fresh
processes, and writes scale.md: peak memory of each stage by the number of pictures, milliseconds a picture of the stage `data`, and the
training throughput beside a plain PyTorch loop over the same reader.
"""

import argparse
import os
import shutil
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import torch
import yaml
from PIL import Image
from rich.progress import track

PROJECT = Path(__file__).resolve().parents[1]
SIDE, CLASSES, BATCH = 96, 4, 64
STAGES = (
    ("data", "tasks.data"),
    ("teacher", "tasks.teacher"),
    ("calibrate", "tasks.calibrate"),
    ("int8", "tasks.quantize", "--variant", "int8"),
    ("compile", "tasks.compile", "--variant", "int8", "--target", "onnxruntime"),
    ("evaluate", "tasks.evaluate", "--variant", "int8", "--target", "onnxruntime"),
)
PLAIN = """
import sys, time, torch
from slimline.data.prepared import load_table
from slimline.data.stored import Stored
from slimline.workloads import get_workload
workload = get_workload("images")
net, table = workload.build_teacher().train(), load_table("train")
torch.set_num_threads(2)
optimizer = torch.optim.AdamW(net.parameters(), lr=0.001)
order = torch.split(torch.randperm(len(table), generator=torch.Generator().manual_seed(0)), 64)
began = time.monotonic()
for batch in Stored(table, workload.samples, 2).batches(order):
    loss = torch.nn.functional.cross_entropy(net(**batch.inputs), batch.targets)
    optimizer.zero_grad(set_to_none=True); loss.backward(); optimizer.step()
print(len(table) / (time.monotonic() - began))
"""


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


def params_of(folder: Path) -> dict[str, object]:
    """A short run on a folder."""
    return {
        "workload": "images",
        "seed": 0,
        "data": {"path": str(folder), "image_size": SIDE, "test_fraction": 0.2, "validation_fraction": 0.1, "calibration_samples": 128},
        "model": {"path": "workloads", "config": {"widths": [8, 16, 32, 64]}},
        "teacher": {"source": "train", "epochs": 1, "batch_size": BATCH, "threads": 2},
        "calibrate": {"samples": 128, "batch_size": 32},
        "quantize": {"int8": {"source": "teacher", "method": "static"}},
        "deploy": {"variants": ["teacher", "int8"], "targets": ["onnxruntime"]},
        "gate": {"metric": "accuracy", "max_drop": 0.02},
    }


def measured(project: Path, *command: str) -> tuple[float, float]:
    """Seconds of a stage in a fresh process, and its peak memory in MB, that of its largest worker process included."""
    began = time.monotonic()
    process = subprocess.Popen([sys.executable, "-m", *command], cwd=project, env={**os.environ, "PYTHONPATH": str(PROJECT)})
    _, status, usage = os.wait4(process.pid, 0)
    if status:
        raise SystemExit(f"{' '.join(command)} ended with {os.waitstatus_to_exitcode(status)}")
    return time.monotonic() - began, usage.ru_maxrss / 1000


def plain_throughput(project: Path) -> float:
    """Pictures a second of a plain loop over the same reader."""
    settings = {"cwd": project, "env": {**os.environ, "PYTHONPATH": str(PROJECT)}}
    told = subprocess.run([sys.executable, "-c", PLAIN], **settings, check=True, capture_output=True, text=True)
    return float(told.stdout.split()[-1])


def rows_of(out: Path, counts: list[int]) -> Iterator[tuple[int, dict[str, tuple[float, float]], float]]:
    """For each count: stage -> (seconds, MB), and the plain loop's pictures a second."""
    for count in counts:
        folder, project = out / f"pictures{count}", out / f"project{count}"
        draw_folder(folder, count)
        shutil.rmtree(project, ignore_errors=True)
        (project / "reports").mkdir(parents=True)
        shutil.copytree(PROJECT / "reports/templates", project / "reports/templates")
        (project / "params.yaml").write_text(yaml.safe_dump(params_of(folder)))
        found = {name: measured(project, *command) for name, *command in STAGES}
        yield count, found, plain_throughput(project)


def main() -> None:
    """Measure and write the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--counts", default="1000,10000,50000")
    parser.add_argument("--out", type=Path, required=True)
    arguments = parser.parse_args()
    torch.set_num_threads(2)
    lines = [
        "| pictures | stage | seconds | ms a picture | peak memory, MB |",
        "|--:|:--|--:|--:|--:|",
    ]
    for count, found, plain in rows_of(arguments.out, [int(one) for one in arguments.counts.split(",")]):
        for name, (seconds, memory) in found.items():
            lines.append(f"| {count:,} | {name} | {seconds:.1f} | {1000 * seconds / count:.2f} | {memory:.0f} |")
        lines.append(f"| {count:,} | a plain loop over the training split | | {1000 / plain:.2f} | |")
        (arguments.out / "scale.md").write_text("\n".join(lines) + "\n")
        print("\n".join(lines[-7:]))


if __name__ == "__main__":
    main()
