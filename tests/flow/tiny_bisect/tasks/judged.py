"""A report whose figures follow from params.yaml (the ratio of p50) and from the code (tasks/skill.py)."""

import json
from pathlib import Path

import yaml
from tasks.dummy import note, summary, write
from tasks.skill import SKILL

from slimline.params import params_sha256
from slimline.report.provenance import run_facts

MACHINE = {"cpu": "a CPU", "cores": 2, "isa": ["AVX2"], "versions": {"torch": "2.13.0"}}

if __name__ == "__main__":
    note("report", "start")
    write("report")
    ratio = yaml.safe_load(Path("params.yaml").read_text())["prune"]["p50"]["ratio"]
    value = SKILL - 0.4 * ratio
    share = {"value": value, "ci": [value - 0.01, value + 0.01], "unit": "fraction", "better": "higher"}
    told = summary()
    [row] = told["variants"]
    figures = {"variant": "p50", "stage": "prune", "quality": {"accuracy": share}, "peak_memory_bytes": None}
    run = {**run_facts(Path(), params_sha256(Path("params.yaml"))), "machine": MACHINE}
    Path("reports/summary.json").write_text(json.dumps({**told, "run": run, "variants": [{**row, **figures}]}))
    note("report", "end")
